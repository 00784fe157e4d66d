"""What the rollup of requests says, as queries: who asked how much, how it ended, how long it took."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, Table, and_, case, func, select

from collector.objective import OUR_FAULT
from collector.request import Outcome
from collector.schema import models, replicas, rollup_minute, tenants
from dashboards.query import (
    Format,
    Query,
    Share,
    chosen_level,
    counted_minutes,
    level,
    name_of,
    quantiles,
    render,
    slot,
    whole_seconds,
)

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
ANSWERED = (Outcome.OK,)
WAITED_FOR = (Outcome.OK, Outcome.TIMEOUT)
"""Whose latency counts: a timeout was waited for, and without it an outage would look fast."""
JUDGED = (Outcome.OK, *OUR_FAULT)
"""What availability is a share of: the caller's own faults neither cause nor hide a breach."""

_MINUTE = rollup_minute.c
_CALLS = func.sum(_MINUTE.weighted_requests)
_BY_MODEL = level(tenant=Share.TOGETHER, model=Share.APART, replica=Share.CHOSEN)
_BY_REPLICA = level(tenant=Share.TOGETHER, model=Share.APART, replica=Share.APART)
_BY_TENANT = level(tenant=Share.APART, model=Share.CHOSEN, replica=Share.TOGETHER)
_BY_TENANT_AND_MODEL = level(tenant=Share.APART, model=Share.APART, replica=Share.TOGETHER)


def outcome_label(outcome: Outcome) -> str:
    """An outcome as boards write it."""
    return outcome.name.lower().replace("_", " ")


def requests_by_outcome() -> Query:
    """Calls per second, by how they ended."""
    return _by_outcome(chosen_level())


def failures_by_outcome() -> Query:
    """Calls per second that did not end well, by how they ended."""
    return _by_outcome(and_(chosen_level(), _MINUTE.outcome != int(Outcome.OK)))


def failures_by_replica() -> Query:
    """Calls per second that failed by us, by replica."""
    return _per_second(_CALLS, and_(_BY_REPLICA, _ended(OUR_FAULT)), _MINUTE.replica_id, replicas)


def input_tokens_by_tenant() -> Query:
    """Prompt tokens per second, cached ones included, by tenant."""
    return _per_second(func.sum(_MINUTE.input_tokens), _BY_TENANT, _MINUTE.tenant_id, tenants)


def output_tokens_by_tenant() -> Query:
    """Generated tokens per second, by tenant."""
    return _per_second(func.sum(_MINUTE.output_tokens), _BY_TENANT, _MINUTE.tenant_id, tenants)


def hit_rate_by_model() -> Query:
    """Share of prompt tokens that came from a cache, by model, 0 to 1: of the calls that say so."""
    return _hit_rate(_BY_MODEL, _MINUTE.model_id, models)


def hit_rate_by_tenant() -> Query:
    """Share of prompt tokens that came from a cache, by tenant, 0 to 1: of the calls that say so."""
    return _hit_rate(_BY_TENANT, _MINUTE.tenant_id, tenants)


def availability() -> Query:
    """Share of judged calls that were served, over time, 0 to 1."""
    served = (
        select(slot(_MINUTE.minute), _served().label("availability"))
        .where(counted_minutes(), chosen_level(), _ended(JUDGED))
        .group_by("slot")
        .cte("served")
    )
    statement = select(served.c.slot.label("time"), served.c.availability).order_by("time")
    return render(statement, Format.TIME_SERIES)


def availability_of_range() -> Query:
    """Share of judged calls that were served in the whole range, 0 to 1."""
    statement = select(_served().label("availability")).where(counted_minutes(), chosen_level(), _ended(JUDGED))
    return render(statement, Format.TABLE)


def tenants_hurt() -> Query:
    """Tenants that had at least one call fail by us."""
    count = func.count(_MINUTE.tenant_id.distinct())
    statement = select(count.label("tenants")).where(counted_minutes(), _BY_TENANT, _ended(OUR_FAULT))
    return render(statement, Format.TABLE)


def worst_hurt(limit: int) -> Query:
    """Tenants and models with the most calls that failed by us: calls judged, failed, and the share [0 to 1]."""
    failed = _CALLS.filter(_ended(OUR_FAULT))
    sums = (
        select(_MINUTE.tenant_id, _MINUTE.model_id, _CALLS.label("judged"), failed.label("failed"))
        .where(counted_minutes(), _BY_TENANT_AND_MODEL, _ended(JUDGED))
        .group_by(_MINUTE.tenant_id, _MINUTE.model_id)
        .having(failed > 0)
        .order_by(failed.desc())
        .limit(limit)
        .cte("sums")
    )
    source = sums.outerjoin(tenants, tenants.c.id == sums.c.tenant_id).outerjoin(models, models.c.id == sums.c.model_id)
    statement = (
        select(
            name_of(tenants.c.name).label("Tenant"),
            name_of(models.c.name).label("Model"),
            sums.c.failed.label("Failed by us"),
            sums.c.judged.label("Requests"),
            (sums.c.failed / sums.c.judged).label("Share"),
        )
        .select_from(source)
        .order_by(sums.c.failed.desc(), "Tenant", "Model")
    )
    return render(statement, Format.TABLE)


def quantiles_by_model(quantity: str, outcomes: Collection[Outcome]) -> Query:
    """Quantiles of one of ``SKETCHES``, by model, in its unit."""
    where = and_(counted_minutes(), _BY_MODEL, _ended(outcomes))
    found = quantiles(quantity, where, [slot(_MINUTE.minute), _MINUTE.model_id], QUANTILES)
    statement = (
        select(found.c.slot.label("time"), name_of(models.c.name).label("model"), *(found.c[name] for name in QUANTILES))
        .select_from(found.outerjoin(models, models.c.id == found.c.model_id))
        .order_by("time", "model")
    )
    return render(statement, Format.TIME_SERIES)


def p95_by_replica(quantity: str, outcomes: Collection[Outcome]) -> Query:
    """The 95th percentile of one of ``SKETCHES``, by replica, in its unit."""
    where = and_(counted_minutes(), _BY_REPLICA, _ended(outcomes))
    found = quantiles(quantity, where, [slot(_MINUTE.minute), _MINUTE.replica_id], {"value": QUANTILES["p95"]})
    statement = (
        select(found.c.slot.label("time"), name_of(replicas.c.name).label("metric"), found.c.value)
        .select_from(found.outerjoin(replicas, replicas.c.id == found.c.replica_id))
        .order_by("time", "metric")
    )
    return render(statement, Format.TIME_SERIES)


def p95_of_range(quantity: str, outcomes: Collection[Outcome]) -> Query:
    """The 95th percentile of one of ``SKETCHES`` over the whole range and all chosen models, in its unit."""
    where = and_(counted_minutes(), _BY_MODEL, _ended(outcomes))
    return render(select(quantiles(quantity, where, [], {"p95": QUANTILES["p95"]})), Format.TABLE)


def _ended(outcomes: Collection[Outcome]) -> ColumnElement[bool]:
    # Sorted, because a set has no order and the text of a query must not change between two builds.
    return _MINUTE.outcome.in_(sorted(int(outcome) for outcome in outcomes))


def _served() -> ColumnElement[Any]:
    # The sum over no rows is NULL, and a total outage must show 0.
    return func.coalesce(_CALLS.filter(_MINUTE.outcome == int(Outcome.OK)), 0) / _CALLS


def _by_outcome(where: ColumnElement[bool]) -> Query:
    sums = (
        select(slot(_MINUTE.minute), _MINUTE.outcome, _CALLS.label("calls"))
        .where(counted_minutes(), where)
        .group_by("slot", _MINUTE.outcome)
        .cte("sums")
    )
    label = case({int(outcome): outcome_label(outcome) for outcome in Outcome}, value=sums.c.outcome)
    statement = select(
        sums.c.slot.label("time"), label.label("metric"), (sums.c.calls / whole_seconds(sums.c.slot)).label("value")
    ).order_by("time", sums.c.outcome)
    return render(statement, Format.TIME_SERIES)


def _per_second(amount: ColumnElement[Any], where: ColumnElement[bool], key: Column[int], names: Table) -> Query:
    sums = _sums(amount, where, key)
    return _named(sums, sums.c.amount / whole_seconds(sums.c.slot), names)


def _hit_rate(where: ColumnElement[bool], key: Column[int], names: Table) -> Query:
    # From sums of tokens, never from averaged ratios; a slot without a cacheable token has no rate.
    rate = func.sum(_MINUTE.cached_tokens) / func.nullif(func.sum(_MINUTE.cacheable_tokens), 0)
    sums = _sums(rate, where, key)
    return _named(sums, sums.c.amount, names)


def _sums(amount: ColumnElement[Any], where: ColumnElement[bool], key: Column[int]) -> CTE:
    return (
        select(slot(_MINUTE.minute), key.label("id"), amount.label("amount"))
        .where(counted_minutes(), where)
        .group_by("slot", key)
        .cte("sums")
    )


def _named(sums: CTE, value: ColumnElement[Any], names: Table) -> Query:
    statement = (
        select(sums.c.slot.label("time"), name_of(names.c.name).label("metric"), value.label("value"))
        .select_from(sums.outerjoin(names, names.c.id == sums.c.id))
        .where(value.is_not(None))
        .order_by("time", "metric")
    )
    return render(statement, Format.TIME_SERIES)
