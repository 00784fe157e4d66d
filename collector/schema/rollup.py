"""Pulses, SLO minutes and rollups: what is added up, so that no board reads raw rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from collector.metrics import COUNTERS
from collector.schema.base import Time, column, identity, maybe, metadata

pulses = Table(
    "pulses",
    metadata,
    identity("What an alerter remembers having seen"),
    # The database's clock, since alerters read by it and the clocks of collectors differ.
    column("received_at", Time, "Start of the transaction that appended it", server_default=text("now()")),
    column("second", Time, "Second in which the requests ended"),
    column("stream_id", Integer, "Series of verdicts"),
    column("good", Integer, "Requests that passed"),
    column("bad", Integer, "Requests that failed"),
    column("folded", Boolean, "Whether slo_minute holds it", server_default=text("false")),
    comment="Verdicts by second, appended in the transaction of their rows; kept 2 hours",
)
Index(None, pulses.c.received_at)
Index("ix_pulses_unfolded", pulses.c.id, postgresql_where=text("NOT folded"))

SLO_MINUTE_AGE = timedelta(days=35)
"""How long minutes of verdicts are kept: the longest SLO period, 30 days, and a few more."""

slo_minute = Table(
    "slo_minute",
    metadata,
    column("minute", Time, "Minute in which the requests ended"),
    column("stream_id", Integer, "Series of verdicts"),
    column("good", BigInteger, "Requests that passed"),
    column("bad", BigInteger, "Requests that failed"),
    PrimaryKeyConstraint("minute", "stream_id"),
    comment="Verdicts by minute; kept as long as the SLO's period",
)

rollup_marks = Table(
    "rollup_marks",
    metadata,
    identity("Order of arrival"),
    column("minute", Time, "Minute whose rows changed"),
    comment="Minutes to recompute from rows; appended in the transaction that changed them",
)

fold_marks = Table(
    "fold_marks",
    metadata,
    column("starts_at", Time, "Start of the minute, hour or day"),
    column("marked_at", Time, "When it was marked first since it was folded last"),
    column("times", Integer, "How often it was marked since: who folds it sees whether it was marked again meanwhile"),
    column("step", SmallInteger, "1 sketches of a minute's tenants, 2 an hour, 3 a day"),
    PrimaryKeyConstraint("step", "starts_at"),
    comment="What to make anew from what lies below it; only the roller writes here",
)

SKETCHES = {
    "ttft_seconds": "Time to first token",
    "tpot_seconds": "Time per output token",
    "latency_seconds": "Latency",
    "queue_seconds": "Queue time",
    "input_tokens": "Prompt length",
    "context_tokens": "Prompt and output length",
}
"""What rollups keep a sketch of: the quantity, by the prefix of its two columns."""


def _key(time: str) -> tuple[str, ...]:
    return (
        time,
        "tenant_id",
        "observed_by",
        "environment_id",
        "traffic_class",
        "operation",
        "model_id",
        "replica_id",
        "outcome",
        "billing_flags",
    )


def _sums() -> list[Column[Any]]:
    return [
        column("requests", BigInteger, "Requests"),
        column("weighted_requests", Double, "Requests, by sampling weight"),
        column("input_tokens", BigInteger, "Prompt tokens, cached ones included, where known"),
        column("cached_tokens", BigInteger, "Cached prompt tokens, where known"),
        column(
            "cacheable_tokens", BigInteger, "Prompt tokens of the rows that state cached tokens: the hit rate's denominator"
        ),
        column("output_tokens", BigInteger, "Generated tokens, where known"),
        column("reasoning_tokens", BigInteger, "Reasoning tokens, where known"),
        column("rows_with_tokens", BigInteger, "Rows that state input and output tokens"),
        column("rows_with_ttft", BigInteger, "Rows that state TTFT"),
    ]


def _dimensions() -> list[Column[Any]]:
    return [
        column("tenant_id", Integer, "Tenant, 0 for all"),
        column("environment_id", Integer, "Environment"),
        column("model_id", Integer, "Model, 0 for all"),
        column("replica_id", Integer, "Replica, 0 for all"),
        column("observed_by", SmallInteger, "1 gateway, 2 client, 3 engine"),
        column("traffic_class", SmallInteger, "1 interactive, 2 batch, 3 synthetic"),
        column("operation", SmallInteger, "collector.request.Operation"),
        column("outcome", SmallInteger, "collector.request.Outcome"),
        column("billing_flags", SmallInteger, "collector.request.BillingFlag"),
    ]


def _sketches() -> list[Column[Any]]:
    return [
        maybe("sketch_version", SmallInteger, "collector.sketch.VERSION; NULL where the row keeps no sketch"),
        *(
            part
            for name, comment in SKETCHES.items()
            for part in (
                maybe(f"{name}_buckets", ARRAY(SmallInteger), f"{comment}: sketch bucket indexes, ascending"),
                maybe(f"{name}_counts", ARRAY(Integer), f"{comment}: rows in each of these buckets"),
            )
        ),
    ]


def _rollup(name: str, time: str, comment: str) -> Table:
    return Table(
        name,
        metadata,
        column(time, Time, f"{time.capitalize()} in which the requests ended"),
        *_sums(),
        *_dimensions(),
        *_sketches(),
        PrimaryKeyConstraint(*_key(time)),
        comment=comment,
    )


rollup_minute = _rollup(
    "rollup_minute",
    "minute",
    "Requests by minute: counts for all, sketches for fleet, model and replica; kept 14 days",
)

rollup_hour = _rollup("rollup_hour", "hour", "Requests by hour (UTC), made of minutes once the hour is over; kept 400 days")

rollup_day = _rollup("rollup_day", "day", "Requests by day (UTC), made of hours once the day is over; kept 5 years")

_LEVELS = {
    "fleet": "tenant_id = 0 AND model_id = 0 AND replica_id = 0",
    "model": "tenant_id = 0 AND model_id <> 0 AND replica_id = 0",
    "replica": "tenant_id = 0 AND model_id <> 0 AND replica_id <> 0",
    "tenant": "tenant_id <> 0 AND model_id = 0 AND replica_id = 0",
    "tenant_model": "tenant_id <> 0 AND model_id <> 0 AND replica_id = 0",
}


def _index_levels(table: Table, time: str) -> None:
    """Each level by itself, its sums included: 90 days of one level are few among a million rows, which the key would read all,
    and most of a row is sketches, which sums need not fetch."""
    columns = table.c
    sums = [column.name for column in _sums()]
    rest = ["observed_by", "environment_id", "traffic_class", "operation", "outcome", "billing_flags", *sums]
    for level, where in _LEVELS.items():
        key = (columns.tenant_id, columns.model_id, columns.replica_id, columns[time])
        Index(f"ix_{table.name}_{level}", *key, postgresql_include=rest, postgresql_where=text(where))


_index_levels(rollup_hour, "hour")
_index_levels(rollup_day, "day")

tenant_sketches = Table(
    "tenant_sketches",
    metadata,
    column("minute", Time, "Minute in which the requests ended"),
    *_dimensions(),
    *_sketches(),
    PrimaryKeyConstraint(*_key("minute")),
    comment="What minutes do not keep and hours do: the sketches of tenants; kept until no late row of their hour is likely",
)

snapshot_hour = Table(
    "snapshot_hour",
    metadata,
    column("hour", Time, "Hour of the scrapes (UTC)"),
    column("observed_seconds", Double, "Time that scrapes stand for, each until the next and for a minute at most [s]"),
    column("ready_seconds", Double, "Of these, the time in which health did not fail [s]"),
    maybe("kv_over_90_seconds", Double, "Of these, the time with more than 90 % of the KV cache in use [s]"),
    maybe("requests_running_seconds", Double, "Requests running, times seconds; by observed_seconds it is their mean"),
    maybe("requests_waiting_seconds", Double, "Requests waiting, times seconds; by observed_seconds it is their mean"),
    maybe("requests_running_max", Double, "Most requests running at a scrape"),
    maybe("requests_waiting_max", Double, "Most requests waiting at a scrape"),
    *(maybe(family.name, Double, f"{family.help}; counted in this hour [{family.unit}]") for family in COUNTERS),
    column("scrapes", Integer, "Scrapes"),
    column("restarts", Integer, "Scrapes that met a new process, or counters that started anew"),
    column("tenant_id", Integer, "Owner of the engine; 0 for a shared one"),
    column("cluster_id", Integer, "Cluster"),
    column("environment_id", Integer, "Environment"),
    column("model_id", Integer, "Served model"),
    column("replica_id", Integer, "Replica"),
    column("sketch_version", SmallInteger, "collector.sketch.VERSION"),
    maybe("kv_cache_usage_ratio_buckets", ARRAY(SmallInteger), "KV cache in use: sketch bucket indexes, ascending"),
    maybe("kv_cache_usage_ratio_counts", ARRAY(Integer), "KV cache in use: scrapes in each of these buckets"),
    PrimaryKeyConstraint("hour", "replica_id", "model_id", "tenant_id", "environment_id", "cluster_id"),
    comment="What scrapes said by hour, per replica and model; kept as long as rollup_hour",
)
