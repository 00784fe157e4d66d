"""Daily partitions: made ahead, made on demand for late rows, dropped by retention. And the old rows of small tables.

A partition is made as a table of its own and then attached: unlike ``CREATE TABLE … PARTITION OF``, that does not lock readers
and writers of its parent out. Dropping one does, so it waits for its lock for a moment only and leaves the rest for next time.
Every function wants a connection with no transaction open, and commits what it does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import structlog
from psycopg import AsyncConnection, sql
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus
from sqlalchemy import Table

from collector.config import Retention
from collector.schema import (
    PARTITIONED,
    SLO_MINUTE_AGE,
    engine_requests,
    metadata,
    pulses,
    requests,
    rollup_day,
    rollup_hour,
    rollup_minute,
    slo_minute,
    snapshot_hour,
    snapshots,
)

DAYS_AHEAD = 2
"""Days after today that have a partition: a collector may be unable to make one for that long."""

PULSE_AGE = timedelta(hours=2)

# llm-slo's locks start with the letters "ls".
_LOCK = 0x6C73_0002
_NOT_IN_USE = "AND date_trunc('hour', minute, 'UTC') NOT IN (SELECT starts_at FROM fold_marks)"
"""Minutes that were brought back for a late row stay until their hour was made of them."""
_CREATE_LOCK_TIMEOUT = "5s"
# Whatever comes after a waiting DROP waits with it, ingest too.
_DROP_LOCK_TIMEOUT = "300ms"

log = structlog.get_logger()


class Dropped(NamedTuple):
    """What retention removed: partitions, those that were in use and wait for the next time, and rows of small tables."""

    partitions: tuple[str, ...]
    in_use: tuple[str, ...]
    rows: int


async def ensure(connection: AsyncConnection, now: datetime) -> None:
    """Make the partitions of yesterday, today and the next two days (UTC), where they are missing."""
    today = now.astimezone(UTC).date()
    days = [today + timedelta(days=ahead) for ahead in range(-1, DAYS_AHEAD + 1)]
    for name in PARTITIONED:
        await ensure_days(connection, metadata.tables[name], days)


async def ensure_days(connection: AsyncConnection, table: Table, days: Iterable[date]) -> None:
    """Make a table's partitions of these days (UTC), where they are missing. The caller knows that retention keeps them."""
    _refuse_open_transaction(connection)
    async with connection.transaction():
        await _lock(connection, _CREATE_LOCK_TIMEOUT)
        there = await _partitions(connection, table)
        for day in sorted(set(days) - there.keys()):
            await _create(connection, table, day)


async def drop_expired(connection: AsyncConnection, now: datetime, retention: Retention) -> Dropped:
    """Drop partitions whose every row is past retention, and delete old pulses and minutes, an hour of them at a time."""
    _refuse_open_transaction(connection)
    dropped: list[str] = []
    in_use: list[str] = []
    for table, kept_days in (
        (requests, retention.requests_days),
        (engine_requests, retention.engine_requests_days),
        (snapshots, retention.snapshots_days),
    ):
        first_kept = (now.astimezone(UTC) - timedelta(days=kept_days)).date()
        async with connection.transaction():
            there = await _partitions(connection, table)
        for day in sorted(day for day in there if day < first_kept):
            done = await _drop(connection, there[day])
            (dropped if done else in_use).append(there[day])
    if dropped or in_use:
        log.info("partitions past retention dropped", dropped=dropped, in_use=in_use)
    rows = await _delete_before(connection, pulses, "received_at", now - PULSE_AGE, where="AND folded")
    for table, column, days, where in (
        (rollup_minute, "minute", retention.rollup_minute_days, _NOT_IN_USE),
        (rollup_hour, "hour", retention.rollup_hour_days, ""),
        (snapshot_hour, "hour", retention.rollup_hour_days, ""),
        (rollup_day, "day", retention.rollup_day_days, ""),
    ):
        rows += await _delete_before(connection, table, column, now - timedelta(days=days), where)
    rows += await _delete_before(connection, slo_minute, "minute", now - SLO_MINUTE_AGE)
    return Dropped(tuple(dropped), tuple(in_use), rows)


def partition_name(table: Table, day: date) -> str:
    """The name of a table's partition of a day."""
    return f"{table.name}_{day:%Y%m%d}"


def _refuse_open_transaction(connection: AsyncConnection) -> None:
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        raise ValueError("a transaction is open on this connection: the locks of partitions would last as long")


async def _lock(connection: AsyncConnection, lock_timeout: str) -> None:
    """Take turns with other collectors, for this transaction, and bound every wait for a lock in it."""
    # A long reader must not stall what queues up behind this transaction's locks.
    await connection.execute("SELECT set_config('lock_timeout', %s, true)", [lock_timeout])
    # Two collectors that make the same partition would meet with an error.
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


async def _partitions(connection: AsyncConnection, table: Table) -> dict[date, str]:
    """The partitions that a table has, by day."""
    # Children of one parent, whatever schema is first in the search path.
    rows = await connection.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass",
        [table.name],
    )
    names = [str(row[0]) async for row in rows]
    return {datetime.strptime(name[-8:], "%Y%m%d").date(): name for name in names if name[-8:].isdigit()}


async def _create(connection: AsyncConnection, table: Table, day: date) -> None:
    # A function of the tables' owner: a collector's role may make partitions without owning anything.
    await connection.execute("SELECT make_partition(%s, %s)", [table.name, day])


async def _drop(connection: AsyncConnection, name: str) -> bool:
    try:
        async with connection.transaction():
            await _lock(connection, _DROP_LOCK_TIMEOUT)
            # Another collector may have dropped it since it was listed.
            await connection.execute("SELECT drop_partition(%s)", [name])
    except LockNotAvailable:
        return False
    return True


async def _delete_before(connection: AsyncConnection, table: Table, column: str, cutoff: datetime, where: str = "") -> int:
    """Delete a table's rows from before a time, an hour of them per transaction; how many they were."""
    names = {"table": sql.Identifier(table.name), "column": sql.Identifier(column), "where": sql.SQL(where)}
    oldest = sql.SQL("SELECT min({column}) FROM {table} WHERE {column} < %s {where}").format(**names)
    delete = sql.SQL("DELETE FROM {table} WHERE {column} < %s {where}").format(**names)
    count = 0
    while True:
        async with connection.transaction():
            # Where the rows begin that may go.
            row = await (await connection.execute(oldest, [cutoff])).fetchone()
            if row is None or row[0] is None:
                return count
            # Rows of the first hour of them.
            deleted = await connection.execute(delete, [min(cutoff, row[0] + timedelta(hours=1))])
            count += deleted.rowcount
