from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from collector.request import ObservedBy, Outcome, Request
from collector.rollup import BUCKET, LEVELS, roll
from collector.sketch import bucket, sketch
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore
from tests.collector.example import judged, now, request, rows

_ROLLUP = """
SELECT minute, t.name, m.name, r.name, observed_by, outcome,
    requests, input_tokens, cached_tokens, output_tokens, rows_with_ttft,
    ttft_seconds_buckets, ttft_seconds_counts, input_tokens_buckets, input_tokens_counts
FROM rollup_minute JOIN tenants t ON t.id = tenant_id JOIN models m ON m.id = model_id JOIN replicas r ON r.id = replica_id
"""


def expected_rollup(requests: list[Request], everything: str) -> set[tuple[Any, ...]]:
    """The rollup by another way: in Python, from the requests themselves."""
    groups: dict[tuple[Any, ...], list[Request]] = defaultdict(list)
    for one in requests:
        for tenant, model, replica in LEVELS:
            groups[
                one.ended_at.replace(second=0, microsecond=0),
                one.tenant if tenant else everything,
                one.model if model else everything,
                (one.replica or "unknown") if replica else everything,
                one.observed_by,
                one.outcome,
            ].append(one)
    result = set()
    for key, members in groups.items():
        ttfts = [one.ttft_seconds for one in members if one.ttft_seconds is not None]
        inputs = [float(one.input_tokens) for one in members if one.input_tokens is not None]
        sketches: tuple[Any, ...] = (None,) * 4
        if key[1] == everything:
            sketches = (*_arrays(ttfts), *_arrays(inputs))
        result.add(
            (
                *key,
                len(members),
                sum(one.input_tokens or 0 for one in members),
                sum(one.cached_tokens or 0 for one in members),
                sum(one.output_tokens or 0 for one in members),
                len(ttfts),
                *sketches,
            )
        )
    return result


def _arrays(values: list[float]) -> tuple[Any, Any]:
    counts = sorted(sketch(values).items())
    if not counts:
        return None, None
    return tuple(index for index, _ in counts), tuple(count for _, count in counts)


async def actual_rollup(look: AsyncConnection[Any]) -> set[tuple[Any, ...]]:
    cursor = await look.execute(_ROLLUP)
    return {tuple(tuple(part) if isinstance(part, list) else part for part in row) for row in await cursor.fetchall()}


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
    connected: Database, look: AsyncConnection[Any]
) -> None:
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
