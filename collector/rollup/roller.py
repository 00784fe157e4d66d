"""The roller: what is done in one round, in which order, and in which transactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TypeVar

from psycopg.errors import SerializationFailure, UniqueViolation

from collector.config import Retention
from collector.errors import StoreUnavailable
from collector.rollup import fold, snapshot
from collector.rollup.age import HOUR, Kept, Step, day_of, hour_of, minutes_of
from collector.rollup.fold import Due
from collector.rollup.minute import recompute, sketch_tenants
from collector.rollup.pulse import fold_pulses
from collector.rollup.statement import Connection
from collector.store.connection import Database

Result = TypeVar("Result")

MINUTES_A_ROUND = 60
SECONDS_A_ROUND = 1.5
"""After this long no further minute is begun: a transaction has five seconds in all."""
_LOCK = 0x6C73_0003
_COARSE_LOCK = 0x6C73_0007
"""Advisory locks of the one roller, and of the one that makes hours and days, which must not keep minutes waiting: two would do
the same work twice, and nothing else would be wrong."""


async def roll(database: Database, now: datetime, retention: Retention | None = None) -> timedelta:
    """One round: the newest marked minutes, and new pulses.

    :returns: the age of the oldest minute that still waits; zero where none does
    :raises StoreUnavailable: when Postgres did not commit; the next round does it again
    """
    kept = Kept(now, retention or Retention())
    oldest = await _turn(database, _LOCK, lambda connection: _minutes(connection, kept))
    return timedelta(0) if oldest is None else now - oldest


async def coarsen(database: Database, now: datetime, retention: Retention | None = None) -> None:
    """One round: sketches of tenants, and at most one hour, one day and one hour of snapshots, of those that are over.

    :raises StoreUnavailable: when Postgres did not commit; the next round does it again
    """
    kept = Kept(now, retention or Retention())
    await _turn(database, _COARSE_LOCK, lambda connection: _tenants(connection, kept))
    for step in (Step.HOUR, Step.DAY):
        await _fold(database, step, kept)
    await _turn(database, _COARSE_LOCK, lambda connection: snapshot.fold_next(connection, kept))
    await _turn(database, _COARSE_LOCK, lambda connection: _forget(connection, kept))


async def _turn(database: Database, lock: int, work: Callable[[Connection], Awaitable[Result]]) -> Result | None:
    """Do something in a transaction of its own, unless another roller is at it."""
    try:
        async with database.transaction() as connection:
            # A snapshot: rows that commit while a minute is recomputed have a mark that this transaction does not see.
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # whether this transaction is the roller
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (lock,))
            if await cursor.fetchone() != (True,):
                return None
            return await work(connection)
    except UniqueViolation:
        # Another roller committed the same between this snapshot and the lock.
        return None
    except StoreUnavailable as unavailable:
        # A minute was recomputed while its hour was made: the mark of the hour is there still, or again.
        if isinstance(unavailable.__cause__, SerializationFailure):
            return None
        raise


async def _minutes(connection: Connection, kept: Kept) -> datetime | None:
    """Recompute minutes; the oldest that still waits."""
    begin = perf_counter()
    answered: list[int] = []
    minutes = []
    for minute, marks in await _marked(connection):
        if kept.has_rows(minute):
            await recompute(connection, minute, engine=kept.has_engine_rows(minute))
            minutes.append(minute)
        answered += marks
        if perf_counter() - begin > SECONDS_A_ROUND:
            break
    await _mark_above(connection, minutes, kept)
    # the marks that were answered by these recomputations
    await connection.execute("DELETE FROM rollup_marks WHERE id = ANY(%s)", (answered,))
    await fold_pulses(connection)
    cursor = await connection.execute("SELECT min(minute) FROM rollup_marks")  # what still waits
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def _marked(connection: Connection) -> Sequence[tuple[datetime, list[int]]]:
    cursor = await connection.execute(
        # minutes to recompute, the newest first: they are what somebody is looking at
        "SELECT minute, array_agg(id) FROM rollup_marks GROUP BY minute ORDER BY minute DESC LIMIT %s",
        (MINUTES_A_ROUND,),
    )
    return await cursor.fetchall()


async def _mark_above(connection: Connection, minutes: Sequence[datetime], kept: Kept) -> None:
    """Mark what is made of these minutes, and of an hour whose other minutes are no longer there, these too."""
    hours = {hour_of(minute) for minute in minutes}
    fresh = hours - await fold.marked(connection, Step.HOUR, hours)
    gone = [minute for hour in fresh if hour < kept.minutes_since for minute in minutes_of(hour)]
    bare = [minute for hour in fresh if kept.minutes_since <= hour < kept.sketches_since for minute in minutes_of(hour)]
    # Until its hour is made, a minute that was brought back stays.
    await connection.execute(
        # the minutes beside a late row's, which retention has dropped
        "INSERT INTO rollup_marks (minute) SELECT unnest(%s::timestamptz[])",
        (gone,),
    )
    await fold.mark(connection, Step.TENANTS, [*minutes, *bare], kept.now)
    await fold.mark(connection, Step.HOUR, hours, kept.now)


async def _tenants(connection: Connection, kept: Kept) -> None:
    """Sketch the tenants of minutes whose hour is over."""
    begin = perf_counter()
    for due in await fold.due(connection, Step.TENANTS, kept, MINUTES_A_ROUND):
        if kept.has_rows(due.start):
            await sketch_tenants(connection, due.start, engine=kept.has_engine_rows(due.start))
        await fold.answer(connection, due)
        if perf_counter() - begin > SECONDS_A_ROUND:
            break


async def _fold(database: Database, step: Step, kept: Kept) -> None:
    """Fold the newest hour or day that can be; in several transactions where it is large."""

    async def begin(connection: Connection) -> tuple[Due, int] | None:
        found = await fold.due(connection, step, kept)
        if not found:
            return None
        slices = await fold.slices_of(connection, found[0])
        if slices > 1:
            return found[0], slices
        await fold.fold_slice(connection, found[0], kept, 1, 0)
        await _done(connection, found[0], kept)
        return None

    large = await _turn(database, _COARSE_LOCK, begin)
    if large is None:
        return
    due, slices = large

    async def go_on(connection: Connection, slice: int) -> bool:
        await fold.fold_slice(connection, due, kept, slices, slice)
        if slice == slices - 1:
            await _done(connection, due, kept)
        return True

    for slice in range(slices):
        if not await _turn(database, _COARSE_LOCK, partial(go_on, slice=slice)):
            return


async def _done(connection: Connection, due: Due, kept: Kept) -> None:
    if due.step is Step.HOUR:
        await fold.mark(connection, Step.DAY, [day_of(due.start)], kept.now)
    await fold.answer(connection, due)


async def _forget(connection: Connection, kept: Kept) -> None:
    """Let go of sketches by minute whose hour was made of them, some hours of them at a time."""
    done = "minute < %s AND date_trunc('hour', minute, 'UTC') NOT IN (SELECT starts_at FROM fold_marks WHERE step = %s)"
    values = (kept.sketches_until, int(Step.HOUR))
    # the oldest that nobody needs: an hour that is marked still needs them
    cursor = await connection.execute(f"SELECT min(minute) FROM tenant_sketches WHERE {done}", values)
    row = await cursor.fetchone()
    if row is not None and row[0] is not None:
        # some hours from there on
        await connection.execute(f"DELETE FROM tenant_sketches WHERE {done} AND minute < %s", (*values, row[0] + 3 * HOUR))
