from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from collector.request import ObservedBy, Outcome
from collector.rollup import BUCKET, roll, roller
from collector.sketch import bucket
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore
from tests.collector.example import judged, now, request, rows
from tests.collector.recomputation import actual_rollup, expected_rollup


async def test_rollup_equals_a_recomputation_from_the_requests(connected: Database, look: AsyncConnection[Any]) -> None:
    start = now().replace(second=10, microsecond=0) - timedelta(minutes=5)
    requests = [
        request(
            number,
            start + timedelta(seconds=number),
            outcome=Outcome.TIMEOUT if number % 11 == 0 else Outcome.OK,
            ttft_seconds=None if number % 11 == 0 else 0.003 * 1.07**number,
            observed_by=ObservedBy.ENGINE if number % 4 == 0 else ObservedBy.GATEWAY,
        )
        for number in range(130)
    ]
    store = RequestStore(connected, Dictionary(connected))
    await store.write(judged(requests[:100]), now())
    await roll(connected, now())
    await store.write(judged(requests[60:]), now())
    assert timedelta(0) == await roll(connected, now())
    ((everything,),) = await rows_where_all(look)
    assert expected_rollup(requests, everything) == await actual_rollup(look)


async def rows_where_all(look: AsyncConnection[Any]) -> list[tuple[Any, ...]]:
    cursor = await look.execute("SELECT name FROM tenants WHERE id = 0")
    return await cursor.fetchall()


async def test_pulses_are_folded_into_minutes_once(connected: Database, look: AsyncConnection[Any]) -> None:
    start = now().replace(second=0, microsecond=0) - timedelta(minutes=3)
    store = RequestStore(connected, Dictionary(connected))
    for part in range(3):
        batch = [request(part * 100 + number, start + timedelta(seconds=number)) for number in range(100)]
        await store.write(judged(batch), now())
        await roll(connected, now())
        await roll(connected, now())
    folded = await rows(look, "slo_minute", "minute, stream_id, good + bad", "2, 1")
    assert [count for _, _, count in folded] == [180, 120, 180, 120]
    assert await rows(look, "pulses", "DISTINCT folded") == [(True,)]


async def test_more_marked_minutes_than_a_round_takes_are_taken_by_the_next(
    connected: Database, look: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roller, "MINUTES_A_ROUND", 10)
    start = now() - timedelta(minutes=30)
    store = RequestStore(connected, Dictionary(connected))
    await store.write(judged([request(number, start + timedelta(minutes=number)) for number in range(25)]), now())
    waiting = []
    while await roll(connected, now()):
        waiting += await rows(look, "rollup_marks", "count(DISTINCT minute)")
    assert waiting == [(15,), (5,)]
    assert await rows(look, "rollup_minute", "count(DISTINCT minute)") == [(25,)]


async def test_sql_and_python_agree_on_every_bucket(look: AsyncConnection[Any]) -> None:
    values = [10 ** (exponent / 7) for exponent in range(-40, 60)]
    cursor = await look.execute(f"SELECT {BUCKET} FROM unnest(%s::float8[]) AS value", (values,))
    assert [bucket(value) for value in values] == [row[0] for row in await cursor.fetchall()]
