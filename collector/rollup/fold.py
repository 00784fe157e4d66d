"""Hours made of minutes, and days made of hours: recomputed as a whole, never added to, so that a fold may come twice.

What makes up an hour can be too much for one short transaction. It is then folded slice by slice: a slice holds whole groups
of the key, so each of them is right at any moment, and a crash in between leaves the mark, by which all is done again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from collector.request import ObservedBy
from collector.rollup.age import LENGTH, SETTLE, Kept, Step
from collector.rollup.statement import KEY, QUANTITIES, SKETCH_NAMES, SUM_NAMES, Connection, sketched
from collector.schema import ALL, rollup_day, rollup_hour, rollup_minute, tenant_sketches
from collector.schema.level import SUMS
from collector.sketch import VERSION

ROWS_A_SLICE = 2_000
"""Rows with sketches that one transaction folds: half a million cells at most, less than a second of work."""

_TARGET = {Step.HOUR: (rollup_hour.name, "hour"), Step.DAY: (rollup_day.name, "day")}
_SOURCE = {Step.HOUR: (rollup_minute.name, "minute"), Step.DAY: (rollup_hour.name, "hour")}

_SLICE = "(tenant_id::int8 + 7 * model_id::int8 + 31 * replica_id::int8) %% %(slices)s = %(slice)s"
_OBSERVED = f"(%(engine)s OR observed_by <> {ObservedBy.ENGINE:d})"


def _within(time: str) -> str:
    return f"{time} >= %(start)s AND {time} < %(end)s"


def _sketches_of(step: Step) -> str:
    """The rows whose sketches are added."""
    source, time = _SOURCE[step]
    where = f"{_SLICE} AND {_OBSERVED} AND sketch_version = {VERSION}"
    columns = f"{KEY}, {SKETCH_NAMES}"
    if step is Step.DAY:
        return f"SELECT {columns} FROM {source} WHERE {_within(time)} AND {where}"
    return (
        f"SELECT {columns} FROM {source} WHERE {_within(time)} AND {where} AND tenant_id = {ALL} "
        f"UNION ALL SELECT {columns} FROM {tenant_sketches.name} WHERE {_within(time)} AND {where}"
    )


def _fold(step: Step) -> str:
    source, source_time = _SOURCE[step]
    target, target_time = _TARGET[step]
    sums = ", ".join(f"sum({name}){'' if name == 'weighted_requests' else '::int8'} AS {name}" for name in SUMS)
    parts = " UNION ALL ".join(
        f"SELECT {number}, bucket, rows FROM unnest({name}_buckets, {name}_counts) AS part (bucket, rows)"
        for name, number in QUANTITIES.items()
    )
    # A group gets a number, within its tenant: cells are told apart by two columns instead of nine, in half the time.
    return f"""
WITH sums AS (
    SELECT {KEY}, {sums}, (row_number() OVER (PARTITION BY tenant_id))::int4 AS number
    FROM {source} WHERE {_within(source_time)} AND {_SLICE} AND {_OBSERVED} GROUP BY {KEY}
), finer AS MATERIALIZED (
    SELECT tenant_id, number, {SKETCH_NAMES} FROM ({_sketches_of(step)}) AS sketched JOIN sums USING ({KEY})
), cells AS (
    SELECT tenant_id, number, quantity, bucket, sum(rows)::int4 AS rows
    FROM finer CROSS JOIN LATERAL ({parts}) AS cell (quantity, bucket, rows)
    GROUP BY tenant_id, number, quantity, bucket
), sketches AS ({sketched("tenant_id, number")})
INSERT INTO {target} ({target_time}, {KEY}, {SUM_NAMES}, sketch_version, {SKETCH_NAMES})
SELECT %(start)s, {KEY}, {SUM_NAMES}, {VERSION}, {SKETCH_NAMES} FROM sums LEFT JOIN sketches USING (tenant_id, number)
"""


_FOLD = {step: _fold(step) for step in _TARGET}


class Due(NamedTuple):
    """A mark that can be answered now."""

    step: Step
    start: datetime
    times: int
    """How often it was marked, as far as this fold has seen."""


async def mark(connection: Connection, step: Step, starts: Iterable[datetime], now: datetime) -> None:
    """Ask for something to be made anew."""
    await connection.execute(
        # what changed below it
        """
        INSERT INTO fold_marks (step, starts_at, marked_at, times) SELECT %s, unnest(%s::timestamptz[]), %s, 1
        ON CONFLICT (step, starts_at) DO UPDATE SET times = fold_marks.times + 1
        """,
        (int(step), sorted(set(starts)), now),
    )


async def marked(connection: Connection, step: Step, starts: Iterable[datetime]) -> set[datetime]:
    """Which of these are asked for already, and stay so: what is marked keeps retention away from what it is made of.

    :raises SerializationFailure: one of them was answered after this transaction's snapshot
    """
    cursor = await connection.execute(
        # marks that are there, and that nobody answers before this transaction ends
        "SELECT starts_at FROM fold_marks WHERE step = %s AND starts_at = ANY(%s) FOR UPDATE",
        (int(step), sorted(starts)),
    )
    return {start for (start,) in await cursor.fetchall()}


async def due(connection: Connection, step: Step, kept: Kept, limit: int = 1) -> list[Due]:
    """Marks whose time is over and below which nothing waits, the newest first."""
    cursor = await connection.execute(
        # what can be made now, of what is complete
        """
        SELECT starts_at, times FROM fold_marks AS coarse
        WHERE step = %(step)s AND starts_at <= %(over)s AND marked_at <= %(settled)s
            AND NOT EXISTS (
                SELECT FROM rollup_marks WHERE minute >= coarse.starts_at AND minute < coarse.starts_at + %(length)s
            )
            AND NOT EXISTS (
                SELECT FROM fold_marks AS finer
                WHERE finer.step < coarse.step AND finer.starts_at >= coarse.starts_at
                    AND finer.starts_at < coarse.starts_at + %(length)s
            )
        ORDER BY starts_at DESC LIMIT %(limit)s
        """,
        {
            "step": int(step),
            "over": kept.over(step),
            "settled": kept.now - SETTLE[step],
            "length": LENGTH[step],
            "limit": limit,
        },
    )
    return [Due(step, start, times) for start, times in await cursor.fetchall()]


async def slices_of(connection: Connection, due: Due) -> int:
    """In how many parts this is folded."""
    cursor = await connection.execute(
        # how much there is to add
        f"SELECT count(*) FROM ({_sketches_of(due.step)}) AS finer",
        _values(due, slices=1, slice=0, engine=True),
    )
    row = await cursor.fetchone()
    assert row is not None, "an aggregate without GROUP BY returns one row"
    return 1 + int(row[0]) // ROWS_A_SLICE


async def fold_slice(connection: Connection, due: Due, kept: Kept, slices: int, slice: int) -> None:
    """Replace one slice of an hour or a day by what lies below it now."""
    table, time = _TARGET[due.step]
    # A day is made of hours, which outlive every row; an hour may have lost what its engines said.
    engine = due.step is Step.DAY or kept.has_engine_rows(due.start)
    values = _values(due, slices=slices, slice=slice, engine=engine)
    # as it was
    await connection.execute(f"DELETE FROM {table} WHERE {time} = %(start)s AND {_SLICE} AND {_OBSERVED}", values)
    # as it is
    await connection.execute(_FOLD[due.step], values)


async def answer(connection: Connection, due: Due) -> None:
    """Take a mark away, unless something changed again since."""
    await connection.execute(
        # the mark that was answered
        "DELETE FROM fold_marks WHERE step = %s AND starts_at = %s AND times = %s",
        (int(due.step), due.start, due.times),
    )


def _values(due: Due, *, slices: int, slice: int, engine: bool) -> dict[str, object]:
    return {
        "start": due.start,
        "end": due.start + LENGTH[due.step],
        "slices": slices,
        "slice": slice,
        "engine": engine,
    }
