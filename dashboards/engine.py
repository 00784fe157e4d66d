"""What scrapes of engines say, as queries: load, KV cache, preemptions, prefix cache.

Counters are kept as the engine's raw values. The increase between two rows of one series is their difference, or the later
value itself where the counter went back: the engine restarted and counted from 0.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, ColumnElement, and_, case, func, select

from collector.metrics import (
    KV_CACHE_USAGE,
    PREEMPTIONS,
    PREFIX_CACHE_HITS,
    PREFIX_CACHE_QUERIES,
    REQUESTS_RUNNING,
    REQUESTS_WAITING,
    Family,
)
from collector.schema import replicas, snapshots
from dashboards.query import ENVIRONMENT, MODEL, REPLICA, Format, Query, name_of, render, slot, time_filter

_ROW = snapshots.c
_SERIES = (_ROW.replica_id, _ROW.engine, _ROW.model_id)


def load_by_replica() -> Query:
    """Requests running and waiting, by replica: the mean over each interval, added over a replica's engines."""
    running, waiting = (_ROW[family.name] for family in (REQUESTS_RUNNING, REQUESTS_WAITING))
    means = (
        select(slot(_ROW.scraped_at), *_SERIES, func.avg(running).label("running"), func.avg(waiting).label("waiting"))
        .where(_chosen(), running.is_not(None))
        .group_by("slot", *_SERIES)
        .cte("means")
    )
    values = [func.sum(means.c.running).label("running"), func.sum(means.c.waiting).label("waiting")]
    statement = (
        select(means.c.slot.label("time"), name_of(replicas.c.name).label("replica"), *values)
        .select_from(means.outerjoin(replicas, replicas.c.id == means.c.replica_id))
        .group_by(means.c.slot, replicas.c.name)
        .order_by("time", "replica")
    )
    return render(statement, Format.TIME_SERIES)


def kv_usage_by_replica() -> Query:
    """The fullest that the KV cache was in each interval, by replica, 0 to 1."""
    usage = _ROW[KV_CACHE_USAGE.name]
    fullest = (
        select(slot(_ROW.scraped_at), _ROW.replica_id, func.max(usage).label("value"))
        .where(_chosen(), usage.is_not(None))
        .group_by("slot", _ROW.replica_id)
        .cte("fullest")
    )
    return _by_replica(fullest, fullest.c.value)


def preemptions_by_replica() -> Query:
    """Preemptions a minute, by replica."""
    grown = _increases(PREEMPTIONS)
    rates = (
        select(grown.c.slot, grown.c.replica_id, (func.sum(grown.c.increase_0) / func.sum(grown.c.seconds)).label("rate"))
        .where(grown.c.seconds > 0)
        .group_by(grown.c.slot, grown.c.replica_id, grown.c.engine, grown.c.model_id)
        .cte("rates")
    )
    added = (
        select(rates.c.slot, rates.c.replica_id, (func.sum(rates.c.rate) * 60).label("value"))
        .group_by(rates.c.slot, rates.c.replica_id)
        .cte("added")
    )
    return _by_replica(added, added.c.value)


def prefix_hit_rate_by_replica() -> Query:
    """Share of prompt tokens found in the engine's prefix cache, by replica, 0 to 1: from sums of tokens."""
    grown = _increases(PREFIX_CACHE_HITS, PREFIX_CACHE_QUERIES)
    rate = func.sum(grown.c.increase_0) / func.nullif(func.sum(grown.c.increase_1), 0)
    added = (
        select(grown.c.slot, grown.c.replica_id, rate.label("value")).group_by(grown.c.slot, grown.c.replica_id).cte("added")
    )
    return _by_replica(added, added.c.value)


def _chosen() -> ColumnElement[bool]:
    return and_(
        time_filter(_ROW.scraped_at),
        ENVIRONMENT.admits(_ROW.environment_id),
        MODEL.admits(_ROW.model_id),
        REPLICA.admits(_ROW.replica_id),
    )


def _increases(*families: Family) -> CTE:
    """One row per pair of neighbouring rows of a series: its slot, ``seconds`` between them, ``increase_0`` … by family.

    A range's first row of each series has no neighbour: the first minute of a range shows no increase.
    """
    counters = [_ROW[family.name] for family in families]
    window: dict[str, Any] = {"partition_by": _SERIES, "order_by": _ROW.scraped_at}
    pairs = (
        select(
            slot(_ROW.scraped_at),
            *_SERIES,
            func.extract("epoch", _ROW.scraped_at - func.lag(_ROW.scraped_at).over(**window)).label("seconds"),
            *(counter.label(f"value_{index}") for index, counter in enumerate(counters)),
            *(func.lag(counter).over(**window).label(f"previous_{index}") for index, counter in enumerate(counters)),
        )
        .where(_chosen(), *(counter.is_not(None) for counter in counters))
        .cte("pairs")
    )
    return (
        select(
            pairs.c.slot,
            pairs.c.replica_id,
            pairs.c.engine,
            pairs.c.model_id,
            pairs.c.seconds,
            *(_increase(pairs, index).label(f"increase_{index}") for index in range(len(counters))),
        )
        .where(pairs.c.seconds.is_not(None))
        .cte("grown")
    )


def _increase(pairs: CTE, index: int) -> ColumnElement[float]:
    value, previous = pairs.c[f"value_{index}"], pairs.c[f"previous_{index}"]
    return case((value < previous, value), else_=value - previous)


def _by_replica(source: CTE, value: ColumnElement[Any]) -> Query:
    statement = (
        select(source.c.slot.label("time"), name_of(replicas.c.name).label("metric"), value.label("value"))
        .select_from(source.outerjoin(replicas, replicas.c.id == source.c.replica_id))
        .where(value.is_not(None))
        .order_by("time", "metric")
    )
    return render(statement, Format.TIME_SERIES)
