"""Hours and days say what their rows say, whatever happened on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.errors import SerializationFailure

from collector import partition
from collector.config import Retention
from collector.request import ObservedBy, Outcome, Request
from collector.rollup import coarsen, fold, roll
from collector.rollup.age import SKETCH_AGE, Step, day_of
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore
from tests.collector.example import judged, now, request, rows
from tests.collector.recomputation import actual_rollup, expected_rollup

_TIMES = ("minute", "hour", "day")
DAY = day_of(now()) - timedelta(days=1)


def some(numbers: Iterable[int], start: datetime = DAY, step: timedelta = timedelta(minutes=7)) -> list[Request]:
    """Requests of every kind, one per step; every fourth as its engine saw it."""
    return [
        request(
            number,
            start + number * step,
            outcome=Outcome.TIMEOUT if number % 11 == 0 else Outcome.OK,
            ttft_seconds=None if number % 11 == 0 else 0.003 * 1.05 ** (number % 150),
            observed_by=ObservedBy.ENGINE if number % 4 == 0 else ObservedBy.GATEWAY,
        )
        for number in numbers
    ]


async def write(database: Database, requests: Sequence[Request]) -> None:
    await RequestStore(database, Dictionary(database)).write(judged(requests), now())


async def go_round(database: Database, when: datetime, retention: Retention | None = None) -> None:
    """What a collector does every few seconds."""
    await roll(database, when, retention)
    await coarsen(database, when, retention)


async def settle(database: Database, look: AsyncConnection[Any], when: datetime) -> datetime:
    """Roll until nothing waits that is over; the time at which that was so."""
    for _ in range(400):
        await go_round(database, when)
        cursor = await look.execute("SELECT FROM rollup_marks UNION ALL SELECT FROM fold_marks LIMIT 1")
        if cursor.rowcount == 0:
            return when
        when += timedelta(minutes=2)
    raise AssertionError("something waits for ever")


async def assert_right(look: AsyncConnection[Any], requests: Sequence[Request], times: Sequence[str] = _TIMES) -> None:
    for time in times:
        assert expected_rollup(requests, "*", time) == await actual_rollup(look, time)


async def test_hours_and_days_equal_a_recomputation_after_resends_late_rows_and_changes(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    everything = some(range(200))
    await write(connected, everything[:150])
    when = await settle(connected, look, DAY + timedelta(hours=25))
    await assert_right(look, everything[:150])
    await write(connected, everything[100:])
    when = await settle(connected, look, when)
    await assert_right(look, everything)
    # What engines told is filled in, and the minute marked, as the joiner does.
    await look.execute("UPDATE requests SET reasoning_tokens = 3, ttft_seconds = 77 WHERE ttft_seconds IS NULL")
    await look.execute("INSERT INTO rollup_marks (minute) SELECT date_trunc('minute', ended_at) FROM requests")
    await settle(connected, look, when)
    filled = [
        Request(**{name: getattr(one, name) for name in one.__slots__} | {"ttft_seconds": 77.0})
        if one.ttft_seconds is None and one.observed_by is not ObservedBy.ENGINE
        else one
        for one in everything
    ]
    await assert_right(look, filled)
    told = sum(one.ttft_seconds == 77.0 for one in filled)
    for time in _TIMES:
        counted = f"SELECT sum(reasoning_tokens) FROM rollup_{time} WHERE tenant_id = 0 AND model_id = 0"
        assert [(3 * told,)] == await (await look.execute(counted)).fetchall()


async def test_the_running_hour_and_day_are_not_made_before_they_are_over(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    await write(connected, some(range(3)))
    for minutes in (30, 60):
        await go_round(connected, DAY + timedelta(minutes=minutes))
    assert [(0,)] == await rows(look, "rollup_hour", "count(*)")
    await go_round(connected, DAY + timedelta(minutes=61))
    assert [(DAY,)] == await rows(look, "rollup_hour", "DISTINCT hour")
    await go_round(connected, DAY + timedelta(hours=24))
    assert [(0,)] == await rows(look, "rollup_day", "count(*)")
    await go_round(connected, DAY + timedelta(hours=24, minutes=1))
    assert [(DAY,)] == await rows(look, "rollup_day", "DISTINCT day")


class _Crash(Exception):
    """A process that ends between two statements."""


async def test_a_crash_between_any_two_statements_changes_nothing(
    connected: Database, look: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "ROWS_A_SLICE", 30)
    everything = some(range(16), step=timedelta(minutes=75))
    await write(connected, everything[::2])
    when = await settle(connected, look, DAY + timedelta(hours=28))
    await write(connected, everything[1::2])
    execute = AsyncConnection.execute
    left = 0

    async def dying(connection: AsyncConnection[Any], *arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Crash
        return await execute(connection, *arguments, **options)

    crashes = 0
    for statements in range(300):
        left = statements
        with monkeypatch.context() as dies:
            dies.setattr(AsyncConnection, "execute", dying)
            try:
                await go_round(connected, when)
            except _Crash:
                crashes += 1
                continue
        if left > 50:
            break
        when += timedelta(minutes=2)
    assert crashes > 30
    await settle(connected, look, when)
    await assert_right(look, everything)


async def test_two_rollers_at_once_are_as_good_as_one(connected: Database, look: AsyncConnection[Any]) -> None:
    everything = some(range(120), step=timedelta(minutes=12))
    async with Database(connected.conninfo, application="another") as other:
        when = DAY + timedelta(hours=26)
        for part in range(4):
            await write(connected, everything[part::4])
            for _ in range(30):
                await asyncio.gather(go_round(connected, when), go_round(other, when), coarsen(other, when))
                when += timedelta(minutes=1)
        await settle(connected, look, when)
    await assert_right(look, everything)


async def test_a_large_hour_is_folded_in_slices_that_add_up(
    connected: Database, look: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "ROWS_A_SLICE", 7)
    everything = some(range(100), step=timedelta(minutes=1))
    await write(connected, everything)
    await settle(connected, look, DAY + timedelta(hours=26))
    await assert_right(look, everything)


async def test_a_late_row_of_an_hour_whose_sketches_are_gone_brings_them_back(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    everything = some(range(30), step=timedelta(minutes=2))
    await write(connected, everything[1:])
    await settle(connected, look, DAY + timedelta(hours=26))
    later = DAY + timedelta(hours=4) + SKETCH_AGE
    await go_round(connected, later)
    assert [(0,)] == await rows(look, "tenant_sketches", "count(*)")
    await write(connected, everything[:1])
    await settle(connected, look, later)
    await assert_right(look, everything)


async def test_a_late_row_of_an_hour_whose_minutes_are_gone_brings_them_back_until_it_is_made(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    everything = some(range(60), step=timedelta(minutes=2))
    await write(connected, everything[2:])
    await settle(connected, look, DAY + timedelta(hours=26))
    later, retention = DAY + timedelta(days=20), Retention()
    async with await AsyncConnection.connect(connected.conninfo) as own:
        await partition.drop_expired(own, later, retention)
    assert [(0,)] == await rows(look, "rollup_minute", "count(*)")
    # Engines' rows are gone: what hours hold of them stays.
    assert [(0,)] == await rows(look, "engine_requests", "count(*)")
    late = [one for one in everything[:2] if one.observed_by is not ObservedBy.ENGINE]
    await write(connected, late)
    for _ in range(3):
        await go_round(connected, later, retention)
    async with await AsyncConnection.connect(connected.conninfo) as own:
        await partition.drop_expired(own, later, retention)
    later = await settle(connected, look, later)
    await assert_right(look, everything[2:] + late, ("hour", "day"))
    async with await AsyncConnection.connect(connected.conninfo) as own:
        await partition.drop_expired(own, later, retention)
    assert [(0,)] == await rows(look, "rollup_minute", "count(*)")


async def test_an_hour_is_not_taken_for_marked_when_its_mark_was_answered_meanwhile(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    async with await AsyncConnection.connect(connected.conninfo) as other:
        await fold.mark(other, Step.HOUR, [DAY], now())
        await other.commit()
        await other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await other.execute("SELECT FROM fold_marks")
        await look.execute("DELETE FROM fold_marks")
        with pytest.raises(SerializationFailure):
            await fold.marked(other, Step.HOUR, [DAY])


async def test_a_row_of_the_last_day_that_is_kept_leaves_its_hour_alone(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    everything = some(range(20), step=timedelta(minutes=2))
    await write(connected, everything[1:])
    await settle(connected, look, DAY + timedelta(hours=26))
    before = await actual_rollup(look, "hour")
    await write(connected, everything[:1])
    await settle(connected, look, DAY + timedelta(days=Retention().requests_days, hours=3))
    assert before == await actual_rollup(look, "hour")
