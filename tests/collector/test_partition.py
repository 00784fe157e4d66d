"""Daily partitions and retention, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.errors import CheckViolation

from collector.config import Retention
from collector.partition import drop_expired, ensure, ensure_days, partition_name
from collector.schema import PARTITIONED, engine_requests, metadata, pulses, requests, rollup_minute, slo_minute, snapshots

_NOON = datetime(2031, 5, 17, 12, tzinfo=UTC)


@pytest.fixture
async def bare(any_database: str) -> AsyncIterator[AsyncConnection]:
    """A connection to a database without partitions, on each server."""
    async with await AsyncConnection.connect(any_database) as connection:
        for name in await _all_partitions(connection):
            await connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        await connection.commit()
        yield connection


async def _all_partitions(connection: AsyncConnection) -> list[str]:
    rows = await connection.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY relname")
    names = [row[0] async for row in rows]
    await connection.commit()
    return names


async def _mark(connection: AsyncConnection, table: str, **values: object) -> None:
    """Insert a row whose other required columns are zero or empty."""
    filled = dict(values)
    for column in metadata.tables[table].columns:
        if not column.nullable and column.identity is None and column.name not in filled:
            kind = column.type.python_type
            filled[column.name] = next(iter(values.values())) if kind is datetime else kind()
    names = sql.SQL(", ").join(map(sql.Identifier, filled))
    marks = sql.SQL(", ").join([sql.Placeholder()] * len(filled))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), names, marks)
    await connection.execute(statement, list(filled.values()))
    await connection.commit()


async def _count(connection: AsyncConnection, table: str) -> int:
    row = await (await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))).fetchone()
    await connection.commit()
    assert row is not None
    return int(row[0])


async def test_partitions_are_made_from_yesterday_to_two_days_ahead(bare: AsyncConnection) -> None:
    await ensure(bare, _NOON)
    days = ["20310516", "20310517", "20310518", "20310519"]
    assert await _all_partitions(bare) == sorted(f"{name}_{day}" for name in PARTITIONED for day in days)


async def test_days_are_those_of_utc(bare: AsyncConnection) -> None:
    await bare.execute("SET timezone = 'Pacific/Kiritimati'")
    await bare.commit()
    await ensure(bare, datetime(2031, 5, 18, 1, tzinfo=timezone(timedelta(hours=14))))
    assert "requests_20310519" in await _all_partitions(bare)
    assert "requests_20310520" not in await _all_partitions(bare)
    for moment in (datetime(2031, 5, 17, tzinfo=UTC), datetime(2031, 5, 17, 23, 59, 59, 999999, tzinfo=UTC)):
        await _mark(bare, "requests", ended_at=moment)
    assert await _count(bare, "requests_20310517") == 2


async def test_a_row_without_a_partition_is_refused_until_its_day_is_made(bare: AsyncConnection) -> None:
    late = _NOON - timedelta(days=40)
    with pytest.raises(CheckViolation, match="no partition"):
        await _mark(bare, "requests", ended_at=late)
    await bare.rollback()
    await ensure_days(bare, requests, [late.date(), late.date()])
    await ensure_days(bare, requests, [late.date()])
    await _mark(bare, "requests", ended_at=late)
    assert await _all_partitions(bare) == [partition_name(requests, late.date())]


async def test_a_partition_has_its_parent_s_key_and_comments(bare: AsyncConnection) -> None:
    await ensure_days(bare, requests, [date(2031, 5, 17)])
    row = await bare.execute(
        "SELECT pg_get_constraintdef(c.oid), c.conparentid <> 0, col_description(c.conrelid, 1)"
        " FROM pg_constraint c WHERE c.conrelid = 'requests_20310517'::regclass AND c.contype = 'p'"
    )
    key = "PRIMARY KEY (ended_at, span_id, trace_id, tenant_id)"
    assert await row.fetchall() == [(key, True, requests.columns["ended_at"].comment)]


async def test_several_collectors_make_the_same_partitions_at_once(any_database: str) -> None:
    async def one() -> None:
        async with await AsyncConnection.connect(any_database) as connection:
            await ensure(connection, _NOON)

    await asyncio.gather(*(one() for _ in range(6)))
    async with await AsyncConnection.connect(any_database) as connection:
        assert "requests_20310519" in await _all_partitions(connection)


async def test_making_a_partition_waits_for_no_reader_and_no_writer(bare: AsyncConnection) -> None:
    await ensure_days(bare, requests, [date(2031, 5, 17)])
    async with await AsyncConnection.connect(bare.info.dsn) as other:
        await other.execute("SELECT * FROM requests")
        await other.execute("LOCK TABLE requests IN ROW EXCLUSIVE MODE")
        await ensure_days(bare, requests, [date(2031, 5, 18)])
    assert "requests_20310518" in await _all_partitions(bare)


async def test_retention_drops_whole_days_by_table(bare: AsyncConnection) -> None:
    for table in (requests, engine_requests, snapshots):
        await ensure_days(bare, table, [_NOON.date() - timedelta(days=age) for age in (0, 3, 4, 9, 10)])
    retention = Retention(requests_days=9, engine_requests_days=3, snapshots_days=100)
    dropped = await drop_expired(bare, _NOON, retention)
    gone = ["requests_20310507", "engine_requests_20310507", "engine_requests_20310508", "engine_requests_20310513"]
    assert (sorted(dropped.partitions), dropped.in_use) == (sorted(gone), ())
    # What ended just within retention lies in the oldest day that is kept.
    kept = [name for name in await _all_partitions(bare) if name.startswith("requests_")]
    assert kept == ["requests_20310508", "requests_20310513", "requests_20310514", "requests_20310517"]


async def test_a_partition_in_use_is_left_for_the_next_time(bare: AsyncConnection) -> None:
    old = _NOON.date() - timedelta(days=200)
    await ensure_days(bare, requests, [old])
    async with await AsyncConnection.connect(bare.info.dsn) as reader:
        await reader.execute("SELECT * FROM requests")
        first = await drop_expired(bare, _NOON, Retention())
    second = await drop_expired(bare, _NOON, Retention())
    name = partition_name(requests, old)
    assert (first.partitions, first.in_use) == ((), (name,))
    assert (second.partitions, second.in_use) == ((name,), ())


async def test_several_collectors_drop_the_same_partitions_at_once(bare: AsyncConnection) -> None:
    await ensure_days(bare, requests, [_NOON.date() - timedelta(days=200 + age) for age in range(5)])

    async def one() -> None:
        async with await AsyncConnection.connect(bare.info.dsn) as connection:
            await drop_expired(connection, _NOON, Retention())

    await asyncio.gather(*(one() for _ in range(4)))
    await drop_expired(bare, _NOON, Retention())
    assert await _all_partitions(bare) == []


async def test_old_pulses_and_minutes_are_deleted_and_young_ones_kept(bare: AsyncConnection) -> None:
    for age in (timedelta(hours=1), timedelta(hours=2, seconds=1), timedelta(hours=30), timedelta(days=9)):
        await _mark(bare, "pulses", received_at=_NOON - age, folded=True)
    for name, ages in (("rollup_minute", (13, 15, 16)), ("slo_minute", (34, 36))):
        for days in ages:
            await _mark(bare, name, minute=_NOON - timedelta(days=days))
    dropped = await drop_expired(bare, _NOON, Retention(rollup_minute_days=14))
    assert dropped.rows == 6
    assert [await _count(bare, table.name) for table in (pulses, rollup_minute, slo_minute)] == [1, 1, 1]


async def test_hours_and_days_are_kept_for_as_long_as_configured(bare: AsyncConnection) -> None:
    for name, time, ages in (
        ("rollup_hour", "hour", (399, 401)),
        ("snapshot_hour", "hour", (399, 401)),
        ("rollup_day", "day", (1826, 1828)),
    ):
        for days in ages:
            await _mark(bare, name, **{time: _NOON - timedelta(days=days)})
    assert 3 == (await drop_expired(bare, _NOON, Retention())).rows
    assert [1, 1, 1] == [await _count(bare, name) for name in ("rollup_hour", "snapshot_hour", "rollup_day")]


async def test_a_pulse_that_was_not_added_up_yet_is_kept(bare: AsyncConnection) -> None:
    await _mark(bare, "pulses", received_at=_NOON - timedelta(days=1), folded=False)
    await _mark(bare, "pulses", received_at=_NOON - timedelta(days=2), folded=True)
    assert (await drop_expired(bare, _NOON, Retention())).rows == 1
    assert await _count(bare, "pulses") == 1


async def test_an_open_transaction_is_refused(connection: AsyncConnection) -> None:
    await connection.execute("SELECT 1")
    with pytest.raises(ValueError, match="a transaction is open"):
        await ensure(connection, _NOON)
    with pytest.raises(ValueError, match="a transaction is open"):
        await drop_expired(connection, _NOON, Retention())


async def test_the_wait_for_a_lock_is_bounded_for_this_work_only(connection: AsyncConnection) -> None:
    await ensure(connection, _NOON)
    row = await (await connection.execute("SHOW lock_timeout")).fetchone()
    assert row == ("0",)
    assert connection.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS
