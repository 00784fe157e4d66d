"""What is asked of the rollups, the level that answers it, and what of it can be read exactly now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from collector.config import Retention
from collector.reads.plan import LENGTH, Grain, Holding, NotKept, Period, Piece, cover, joined
from collector.request import ObservedBy, TrafficClass
from collector.schema import ALL, rollup_day, rollup_hour, rollup_minute
from collector.schema.level import DIMENSIONS, FACTS, LEVELS, Level, at_level

Connection = AsyncConnection[Any]

TABLES: Mapping[Grain, tuple[str, str]] = {
    Grain.MINUTE: (rollup_minute.name, "minute"),
    Grain.HOUR: (rollup_hour.name, "hour"),
    Grain.DAY: (rollup_day.name, "day"),
}
"""Where each grain is kept, and the column of its time."""


_MARGIN = timedelta(hours=1)


class By(StrEnum):
    """What an answer is told apart by. The value is the column."""

    TENANT = "tenant_id"
    MODEL = "model_id"
    REPLICA = "replica_id"
    ENVIRONMENT = "environment_id"
    TRAFFIC_CLASS = "traffic_class"
    OPERATION = "operation"
    OUTCOME = "outcome"
    BILLING_FLAGS = "billing_flags"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Whose requests are asked for. ``None`` is all of them, together; ids are those of the dictionaries."""

    observed_by: ObservedBy
    tenants: Sequence[int] | None = None
    models: Sequence[int] | None = None
    replicas: Sequence[int] | None = None
    environments: Sequence[int] | None = None
    traffic_classes: Sequence[TrafficClass] = (TrafficClass.INTERACTIVE, TrafficClass.BATCH)
    """Health checks and probes are in no SLO and on no bill."""


class Plan(NamedTuple):
    """How a question is answered."""

    slots: Sequence[Period]
    """What the answer is told apart by in time, in order and without gaps."""
    pieces: Sequence[Piece]
    level: Level

    @property
    def grains(self) -> list[str]:
        """What is read, for those who want to know why it took long."""
        return sorted({piece.grain.name.lower() for piece in self.pieces})


@asynccontextmanager
async def one_snapshot(connection: Connection) -> AsyncIterator[Connection]:
    """A transaction in which all reads see the same, so that what is marked and what is read belong together."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield connection


async def plan(
    connection: Connection,
    slots: Sequence[Period],
    selection: Selection,
    by: Sequence[By],
    *,
    now: datetime,
    retention: Retention,
    sketches: bool = False,
) -> Plan:
    """How to answer a question about some slots, which follow each other without a gap.

    :param sketches: whether quantiles are asked for, which minutes do not keep for tenants
    :raises NotKept: where no level tells it exactly
    """
    level = _level(selection, by)
    holding = await _holding(connection, selection.observed_by, now, retention)
    kept = dict(holding.since)
    if level not in LEVELS:
        # Tenant and replica at once: rows alone tell.
        kept = {Grain.ROW: kept[Grain.ROW]}
    elif sketches and level.by_tenant:
        del kept[Grain.MINUTE]
    try:
        pieces = [piece for slot in slots for piece in cover(slot, holding._replace(since=kept))]
    except NotKept as missing:
        if level in LEVELS:
            raise
        raise NotKept("rollups do not tell a tenant's requests apart by replica, and rows are no longer kept") from missing
    return Plan(slots, joined(pieces), level)


def _level(selection: Selection, by: Sequence[By]) -> Level:
    tenant = selection.tenants is not None or By.TENANT in by
    replica = selection.replicas is not None or By.REPLICA in by
    # Replicas are told apart together with their model.
    model = selection.models is not None or By.MODEL in by or (replica and not tenant)
    return Level(int(tenant), int(model), int(replica))


async def _holding(connection: Connection, observed_by: ObservedBy, now: datetime, retention: Retention) -> Holding:
    cursor = await connection.execute(
        # minutes whose rows changed since
        "SELECT DISTINCT minute FROM rollup_marks ORDER BY 1"
    )
    minutes = [minute for (minute,) in await cursor.fetchall()]
    cursor = await connection.execute(
        # what was not made anew since something below it was
        "SELECT DISTINCT date_trunc('hour', starts_at, 'UTC'), step < 3 FROM fold_marks ORDER BY 1"
    )
    marks = await cursor.fetchall()
    hours = {start for start, below_day in marks if below_day} | {minute.replace(minute=0) for minute in minutes}
    days = {start.replace(hour=0) for start in hours} | {start for start, below_day in marks if not below_day}
    row_days = retention.engine_requests_days if observed_by is ObservedBy.ENGINE else retention.requests_days
    return Holding(
        since={
            # An hour less than is kept: what retention drops goes by another clock.
            Grain.ROW: now - timedelta(days=row_days) + _MARGIN,
            Grain.MINUTE: now - timedelta(days=retention.rollup_minute_days) + _MARGIN,
            Grain.HOUR: now - timedelta(days=retention.rollup_hour_days) + _MARGIN,
            Grain.DAY: now - timedelta(days=retention.rollup_day_days) + _MARGIN,
        },
        stale={Grain.MINUTE: minutes, Grain.HOUR: sorted(hours), Grain.DAY: sorted(days)},
    )


class Source(NamedTuple):
    """A part of a statement: where it reads, and under which condition."""

    grain: Grain
    table: str
    time: str
    where: str


def sources(plan: Plan, selection: Selection) -> tuple[list[Source], dict[str, object]]:
    """What a plan reads, grain by grain, and the values of the statement's parameters."""
    values = chosen_values(selection) | {"edges": [slot.start for slot in plan.slots]}
    found = []
    for grain in sorted({piece.grain for piece in plan.pieces}):
        table, time = TABLES.get(grain, ("", "ended_at"))
        within = _within(time, grain, [piece for piece in plan.pieces if piece.grain is grain], values)
        where = f"{within} AND {chosen(selection)}"
        if grain is Grain.ROW:
            parts = at_level(str(plan.level.by_tenant), str(plan.level.by_model), str(plan.level.by_replica))
            rest = "ended_at, sampling_weight, input_tokens, cached_tokens, output_tokens, reasoning_tokens, ttft_seconds"
            facts = FACTS.format(where=where)
            table = f"(SELECT {parts}, {rest}, latency_seconds, queue_seconds FROM {facts}) AS leveled"
            where = "true"
        else:
            where = f"{where} AND {at(plan.level)}"
        found.append(Source(grain, table, time, where))
    return found, values


def _within(time: str, grain: Grain, pieces: Sequence[Piece], values: dict[str, object]) -> str:
    name = grain.name.lower()
    ranges = []
    for number, piece in enumerate(pieces):
        values[f"{name}_{number}_start"], values[f"{name}_{number}_end"] = piece.start, piece.end
        ranges.append(f"({time} >= %({name}_{number}_start)s AND {time} < %({name}_{number}_end)s)")
    if len(ranges) == 1:
        return ranges[0]
    # The whole span too: an index takes one range, and partitions are ruled out by it.
    values[f"{name}_start"], values[f"{name}_end"] = pieces[0].start, pieces[-1].end
    return f"{time} >= %({name}_start)s AND {time} < %({name}_end)s AND ({' OR '.join(ranges)})"


def chosen(selection: Selection) -> str:
    """Whose requests they are."""
    conditions = ["observed_by = %(observed_by)s", "traffic_class = ANY(%(traffic_classes)s)"]
    for name in ("tenants", "models", "replicas", "environments"):
        if getattr(selection, name) is not None:
            conditions.append(f"{name[:-1]}_id = ANY(%({name})s::int4[])")
    return " AND ".join(conditions)


def chosen_values(selection: Selection) -> dict[str, object]:
    """The parameters of ``chosen``."""
    return {
        "observed_by": int(selection.observed_by),
        "traffic_classes": [int(one) for one in selection.traffic_classes],
        "tenants": _ids(selection.tenants),
        "models": _ids(selection.models),
        "replicas": _ids(selection.replicas),
        "environments": _ids(selection.environments),
    }


def _ids(ids: Sequence[int] | None) -> list[int] | None:
    return None if ids is None else sorted(ids)


def at(level: Level) -> str:
    """The rows of one level."""
    return " AND ".join(
        f"{column} {'<>' if apart else '='} {ALL}"
        for column, apart in zip(("tenant_id", "model_id", "replica_id"), level, strict=True)
    )


def slot_of(time: str) -> str:
    """The number of the slot that a time lies in, from 0."""
    return f"width_bucket({time}, %(edges)s::timestamptz[]) - 1"


assert {by.value for by in By} < set(DIMENSIONS)
assert LENGTH.keys() == TABLES.keys()
