from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from collector.errors import StoreUnavailable
from collector.request import ObservedBy, Outcome
from collector.rollup import roll
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore, Written
from tests.collector.example import everything, judged, now, request, rows


def store_on(database: Database) -> RequestStore:
    """A store with a cache of its own, as another collector has."""
    return RequestStore(database, Dictionary(database))


async def test_batch_becomes_rows_with_names_as_ids(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    batch = judged([request(1, at), request(2, at, observed_by=ObservedBy.ENGINE, tenant="unknown")])
    assert Written(Counter({ObservedBy.GATEWAY: 1, ObservedBy.ENGINE: 1}), 0) == await store_on(connected).write(batch, at)
    cursor = await look.execute(
        "SELECT tenants.name, models.name, replicas.name, input_tokens, ended_at FROM requests"
        " JOIN tenants ON tenants.id = tenant_id JOIN models ON models.id = model_id JOIN replicas ON replicas.id = replica_id"
    )
    assert [("tenant-1", "tiny", "vllm-1", 101, at)] == await cursor.fetchall()
    assert await rows(look, "engine_requests", "input_tokens") == [(102,)]


async def test_verdicts_are_pulses_by_second(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now().replace(microsecond=0) - timedelta(seconds=10)
    batch = [request(number, at, ttft_seconds=0.1) for number in range(3)]
    batch += [request(3, at, ttft_seconds=9.0), request(4, at + timedelta(seconds=1), outcome=Outcome.SERVER_ERROR)]
    await store_on(connected).write(judged(batch), now())
    cursor = await look.execute(
        "SELECT definition->>'sli', second, good, bad FROM pulses JOIN streams ON streams.id = stream_id"
        " LEFT JOIN objectives ON objectives.id = objective_id ORDER BY second, good DESC"
    )
    assert [(good, bad) for _, _, good, bad in await cursor.fetchall()] == [(4, 0), (3, 1), (0, 1)]


async def test_resend_changes_nothing(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    store = store_on(connected)
    batch = judged([request(number, at - timedelta(seconds=number)) for number in range(50)])
    await store.write(batch, at)
    await roll(connected, now())
    before = await everything(look)
    assert Written(Counter(), 50) == await store.write(batch, now())
    await roll(connected, now())
    assert before == await everything(look)


async def test_same_request_twice_in_one_batch_is_one_row(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    written = await store_on(connected).write(judged([request(1, at), request(1, at), request(2, at)]), at)
    assert Written(Counter({ObservedBy.GATEWAY: 2}), 1) == written
    assert await rows(look, "requests", "count(*)") == [(2,)]


async def test_partly_new_batch_adds_only_what_is_new(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    store = store_on(connected)
    await store.write(judged([request(number, at) for number in range(10)]), at)
    written = await store.write(judged([request(number, at) for number in range(5, 15)]), at)
    assert Written(Counter({ObservedBy.GATEWAY: 5}), 5) == written
    cursor = await look.execute("SELECT sum(good + bad) FROM pulses")
    assert await cursor.fetchall() == [(15 * 2,)]


async def test_two_collectors_with_the_same_bodies_in_opposite_order_neither_deadlock_nor_count_twice(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    at = now()
    bodies = [judged([request(number, at - timedelta(milliseconds=number)) for number in range(600)]) for _ in range(2)]
    bodies[1].reverse()
    stores = [store_on(connected), store_on(connected)]
    for _ in range(3):
        written = await asyncio.gather(*(store.write(body, now()) for store, body in zip(stores, bodies, strict=True)))
    assert sum(one.duplicates for one in written) == 1200
    assert await rows(look, "requests", "count(*)") == [(600,)]
    cursor = await look.execute("SELECT sum(good + bad) FROM pulses")
    assert await cursor.fetchall() == [(1200,)]


async def test_overlapping_bodies_of_two_collectors_are_each_stored_once(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    at = now()
    first = judged([request(number, at) for number in range(0, 400)])
    second = judged(
        [request(number, at) for number in range(399, 199, -1)] + [request(number, at) for number in range(400, 500)]
    )
    results = await asyncio.gather(store_on(connected).write(first, at), store_on(connected).write(second, at))
    assert sum(result.rows.total() for result in results) == 500
    assert sum(result.duplicates for result in results) == 200
    assert await rows(look, "requests", "count(*)") == [(500,)]


async def test_late_day_gets_its_partition(connected: Database, look: AsyncConnection[Any]) -> None:
    late = now() - timedelta(days=40)
    await store_on(connected).write(judged([request(1, late)]), now())
    assert [(late,)] == await rows(look, "requests", "ended_at")


async def test_unreachable_postgres_is_said_to_be_unavailable() -> None:
    async with Database("host=/nowhere dbname=x", application="test", timeout_seconds=0.2) as database:
        with pytest.raises(StoreUnavailable, match="Postgres did not commit"):
            await store_on(database).write(judged([request(1, now())]), now())


async def test_batch_that_fails_half_way_leaves_nothing(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    await look.execute("ALTER TABLE pulses ADD CONSTRAINT broken CHECK (good = 0)")
    with pytest.raises(psycopg.errors.CheckViolation):
        await store_on(connected).write(judged([request(1, at), request(2, at, observed_by=ObservedBy.ENGINE)]), at)
    counts = [await rows(look, table, "count(*)") for table in ("requests", "engine_requests", "pulses", "rollup_marks")]
    assert [[(0,)]] * 4 == counts
