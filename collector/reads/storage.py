"""How much disk each table takes now, and will take at today's rate once retention has caught up with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from collector.config import Retention
from collector.schema import (
    PARTITIONED,
    SLO_MINUTE_AGE,
    changes,
    engine_requests,
    events,
    metadata,
    requests,
    rollup_day,
    rollup_hour,
    rollup_minute,
    slo_minute,
    snapshot_hour,
    snapshots,
)

Connection = AsyncConnection[Any]

_DAY = timedelta(days=1)
_TIMES = {
    rollup_minute.name: "minute",
    rollup_hour.name: "hour",
    rollup_day.name: "day",
    snapshot_hour.name: "hour",
    slo_minute.name: "minute",
    events.name: "at",
    changes.name: "at",
}
"""Tables that grow and have no partitions, and the column of their time."""


class Disk(NamedTuple):
    """One table with its partitions and indexes."""

    table: str
    bytes: int
    bytes_a_day: int | None
    """What the last 24 hours added; ``None`` for a table that does not grow with time."""
    kept_days: int | None
    """``None`` where nothing is ever dropped."""

    @property
    def expected_bytes(self) -> int | None:
        """What it comes to at today's rate, when as much is dropped as is added; ``None`` where that never is."""
        if self.bytes_a_day is None:
            return self.bytes
        return None if self.kept_days is None else self.bytes_a_day * self.kept_days


class _Size(NamedTuple):
    bytes: int
    rows: float
    """As the planner believes; below 0 where it never looked."""


async def storage(connection: Connection, now: datetime, retention: Retention) -> list[Disk]:
    """Every table, the largest first."""
    cursor = await connection.execute(
        # every table and partition of this schema, with the table that it belongs to
        """
        SELECT c.relname, coalesce(parent.relname, c.relname), pg_total_relation_size(c.oid), c.reltuples::float8
        FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        """
    )
    sizes: dict[str, dict[str, _Size]] = {}
    for name, table, size, rows in await cursor.fetchall():
        sizes.setdefault(table, {})[name] = _Size(size, rows)
    kept = _kept_days(retention)
    found = []
    for table in metadata.tables:
        parts = sizes.get(table, {})
        a_day = await _bytes_a_day(connection, table, parts, now)
        found.append(Disk(table, sum(size.bytes for size in parts.values()), a_day, kept.get(table)))
    return sorted(found, key=lambda disk: (-disk.bytes, disk.table))


def _kept_days(retention: Retention) -> dict[str, int]:
    return {
        requests.name: retention.requests_days,
        engine_requests.name: retention.engine_requests_days,
        snapshots.name: retention.snapshots_days,
        rollup_minute.name: retention.rollup_minute_days,
        rollup_hour.name: retention.rollup_hour_days,
        snapshot_hour.name: retention.rollup_hour_days,
        rollup_day.name: retention.rollup_day_days,
        slo_minute.name: SLO_MINUTE_AGE.days,
    }


async def _bytes_a_day(connection: Connection, table: str, parts: Mapping[str, _Size], now: datetime) -> int | None:
    if table in PARTITIONED:
        days = {name.removeprefix(f"{table}_"): size.bytes for name, size in parts.items() if name != table}
        return round(last_day(days, now))
    if table not in _TIMES or table not in parts:
        return None
    rows = parts[table].rows
    if rows <= 0:
        # what a table holds that was never looked at
        cursor = await connection.execute(f"SELECT count(*) FROM {table}")
        ((rows,),) = await cursor.fetchall()
    cursor = await connection.execute(
        # what the last day added to it: a day's row comes when the day is over
        f"SELECT count(*) FROM {table} WHERE {_TIMES[table]} >= %s AND {_TIMES[table]} < %s",
        (now - 2 * _DAY, now - _DAY) if table == rollup_day.name else (now - _DAY, now),
    )
    ((added,),) = await cursor.fetchall()
    return round(parts[table].bytes * added / rows) if rows else 0


def last_day(partitions: Mapping[str, int], now: datetime) -> float:
    """Bytes that the last 24 hours added, of the sizes of daily partitions by ``YYYYMMDD``: all of today's, and of yesterday's
    the share that is less than 24 hours ago. An empty partition is not empty on disk; the next day's says by how much."""
    today = now.astimezone(UTC)

    def size(day: date) -> int:
        return partitions.get(f"{day:%Y%m%d}", 0)

    empty = size((today + _DAY).date())
    passed = (today - today.replace(hour=0, minute=0, second=0, microsecond=0)) / _DAY
    return max(0, size(today.date()) - empty) + (1 - passed) * max(0, size((today - _DAY).date()) - empty)
