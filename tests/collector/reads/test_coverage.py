from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import AsyncConnection

from collector.reads.coverage import LONGEST_GAP, Coverage, Scraped, coverage, spread
from collector.request import ObservedBy, Outcome
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore
from tests.collector.example import judged, now, request

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def scraped(seconds: float, value: float, *, series: int = 1, started: datetime | None = NOON) -> Scraped:
    return Scraped((series,), "tiny", NOON + timedelta(seconds=seconds), started, value)


def by_minute(*scrapes: Scraped) -> dict[int, float]:
    return {int((minute - NOON).total_seconds() // 60): counted for (_, minute), counted in spread(scrapes).items()}


def test_what_a_counter_counted_is_spread_over_the_time_between_scrapes() -> None:
    assert {0: pytest.approx(40), 1: pytest.approx(20)} == by_minute(scraped(20, 100), scraped(80, 160))


def test_restarted_counter_begins_at_zero_and_engines_are_added_up() -> None:
    later = NOON + timedelta(seconds=30)
    scrapes = [scraped(0, 100), scraped(60, 7), scraped(0, 50, series=2), scraped(60, 80, series=2, started=later)]
    assert {0: pytest.approx(87)} == by_minute(*scrapes)


def test_nothing_is_said_of_the_time_between_scrapes_that_are_far_apart() -> None:
    assert {} == by_minute(scraped(0, 1), scraped(LONGEST_GAP.total_seconds() + 1, 99))


@given(st.lists(st.tuples(st.integers(1, 299), st.integers(0, 50)), min_size=1, max_size=9))
def test_nothing_is_lost_in_spreading(steps: list[tuple[int, int]]) -> None:
    at, value, scrapes = 0, 0, [scraped(0, 0)]
    for seconds, counted in steps:
        at, value = at + seconds, value + counted
        scrapes.append(scraped(at, value))
    assert value == pytest.approx(sum(by_minute(*scrapes).values()))


async def write(database: str, *rows: tuple[int, datetime, dict[str, Any]]) -> None:
    async with Database(database, application="test") as store:
        requests = [request(number, at, **fields) for number, at, fields in rows]
        await RequestStore(store, Dictionary(store)).write(judged(requests), now())


async def scrape(connection: AsyncConnection[Any], at: datetime, finished: int) -> None:
    await connection.execute(
        "INSERT INTO snapshots (scraped_at, scrape_seconds, tenant_id, cluster_id, environment_id, model_id, replica_id,"
        " engine, requests_finished_stop) SELECT %s, 0.01, 0, 1, 1, id, 1, '', %s FROM models WHERE name = 'tiny'",
        (at, finished),
    )


async def test_gateway_rows_are_held_against_what_engines_finished(database: str) -> None:
    start = now().replace(second=0, microsecond=0) - timedelta(minutes=3)
    at = start + timedelta(seconds=10)
    await write(
        database,
        (1, at, {"stream": True}),
        (2, at, {"requested_model": "alias", "response_model": "tiny", "stream": False, "ttft_seconds": None}),
        (3, at, {"sampling_weight": 4.0, "choice_count": 2, "cached_tokens": None, "ttft_seconds": None}),
        (4, at, {"outcome": Outcome.TIMEOUT}),
        (5, at, {"gateway_cache_hit": True}),
        (6, at, {"fallback": True, "response_model": "hosted"}),
        (7, at, {"requested_model": "another"}),
        (8, at, {"observed_by": ObservedBy.CLIENT}),
        (9, at + timedelta(minutes=1), {"input_tokens": None}),
    )
    async with await AsyncConnection.connect(database) as connection:
        for minute, finished in enumerate((100, 120, 124)):
            await scrape(connection, start + timedelta(minutes=minute), finished)
        found = await coverage(connection, start, start + timedelta(minutes=2))
    one, two = found
    expected = Coverage(
        model="tiny",
        minute=start,
        finished=20.0,
        told=10.0,
        rows=3,
        rows_with_tokens=3,
        rows_with_cached=2,
        rows_streamed=2,
        rows_with_ttft=1,
    )
    assert expected == one
    assert [0.5, 1.0, 2 / 3, 0.5] == [one.ratio, one.token_ratio, one.cached_ratio, one.ttft_ratio]
    assert (4.0, 1.0, 0.25, 0.0) == (two.finished, two.told, two.ratio, two.token_ratio)


async def test_model_without_an_engine_of_ours_has_no_coverage(database: str) -> None:
    at = now()
    await write(database, (1, at, {}))
    async with await AsyncConnection.connect(database) as connection:
        assert [] == await coverage(connection, at - timedelta(minutes=1), at + timedelta(minutes=1))
