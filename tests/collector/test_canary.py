from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from psycopg import AsyncConnection

from collector.canary import Canary
from collector.config import Config
from collector.errors import StoreUnavailable
from collector.event import Event, EventKind
from collector.request import ObservedBy, Outcome, Request, TrafficClass
from collector.scrape import watch
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from collector.store.request import RequestStore
from collector.target import Canary as Setting
from collector.target import Target
from tests.collector.example import rows

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Engine:
    """Answers a completion as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[dict[str, object]] = []
        self.agents: list[str] = []

    async def complete(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.agents.append(request.headers["User-Agent"])
        return web.json_response({"choices": [{"text": "1"}]}, status=self.status)


def application(engine: Engine) -> web.Application:
    app = web.Application()
    app.add_routes([web.post("/v1/completions", engine.complete)])
    return app


class Kept:
    def __init__(self) -> None:
        self.rows: list[Request] = []
        self.events: list[Event] = []
        self.away = False

    async def __call__(self, row: Request, events: tuple[Event, ...]) -> None:
        if self.away:
            raise StoreUnavailable("away", 1)
        self.rows.append(row)
        self.events += events


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
async def canary(engine: Engine, kept: Kept, clock: Clock) -> AsyncIterator[Canary]:
    async with TestServer(application(engine)) as server, aiohttp.ClientSession() as client:
        target = Target(url=str(server.make_url("")), replica="vllm-0")
        setting = Setting(interval_seconds=60)
        yield Canary(target, setting, client, lambda: "tiny", kept, clock, place=("c", "production"))


async def test_a_call_becomes_a_synthetic_row(canary: Canary, engine: Engine, kept: Kept) -> None:
    assert 60 == await canary.probe()
    assert [{"model": "tiny", "prompt": "1", "max_tokens": 1, "temperature": 0}] == engine.asked
    assert ["llm-slo canary"] == engine.agents
    (row,) = kept.rows
    assert (ObservedBy.CLIENT, TrafficClass.SYNTHETIC, Outcome.OK, "tiny", "vllm-0") == (
        *(row.observed_by, row.traffic_class, row.outcome, row.model, row.replica),
    )
    assert row.ttft_seconds == row.latency_seconds
    assert [] == kept.events


async def test_failures_in_a_row_are_a_fact_once_and_so_is_recovery(canary: Canary, engine: Engine, kept: Kept) -> None:
    for status in (500, 500, 500, 200, 500, 200):
        engine.status = status
        await canary.probe()
    assert [EventKind.CANARY_FAILED, EventKind.CANARY_RECOVERED] == [event.kind for event in kept.events]
    assert {"outcome": "server_error"} == kept.events[0].detail
    assert [Outcome.SERVER_ERROR] * 3 == [row.outcome for row in kept.rows[:3]]


async def test_a_failure_that_lasts_is_told_again(canary: Canary, engine: Engine, kept: Kept, clock: Clock) -> None:
    engine.status = 500
    for minutes in (0, 1, 5, 14, 17, 30):
        clock.now = NOW + timedelta(minutes=minutes)
        await canary.probe()
    assert [NOW + timedelta(minutes=minutes) for minutes in (1, 17)] == [event.at for event in kept.events]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
async def test_an_engine_that_refuses_did_answer(canary: Canary, engine: Engine, kept: Kept, status: int) -> None:
    engine.status = status
    for _ in range(3):
        await canary.probe()
    assert [] == kept.events


async def test_what_is_not_kept_is_told_with_the_next_call(canary: Canary, engine: Engine, kept: Kept) -> None:
    engine.status = 500
    await canary.probe()
    kept.away = True
    assert 60 == await canary.probe()
    kept.away = False
    await canary.probe()
    assert ([EventKind.CANARY_FAILED], 2) == ([event.kind for event in kept.events], len(kept.rows))


async def test_an_engine_that_nobody_answers_for_is_unavailable(kept: Kept) -> None:
    async with aiohttp.ClientSession() as client:
        target, setting = Target(url="http://127.0.0.1:1"), Setting(interval_seconds=60)
        await Canary(target, setting, client, lambda: "tiny", kept, lambda: NOW, place=("c", "e")).probe()
    assert [Outcome.UNAVAILABLE] == [row.outcome for row in kept.rows]


async def test_an_engine_whose_model_is_not_known_yet_is_not_called(kept: Kept) -> None:
    async with aiohttp.ClientSession() as client:
        target, setting = Target(url="http://127.0.0.1:1"), Setting(interval_seconds=60)
        pause = await Canary(target, setting, client, lambda: None, kept, lambda: NOW, place=("c", "e")).probe()
    assert ([], 5) == (kept.rows, pause)


async def test_a_watched_target_is_called_where_it_is_configured_and_what_comes_of_it_is_kept(
    engine: Engine, connected: Database, look: AsyncConnection[Any]
) -> None:
    engine.status = 500
    called = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == 60 and len(engine.asked) >= 2:
            called.set()
        await (asyncio.sleep(0) if seconds == 60 and len(engine.asked) < 2 else asyncio.Event().wait())

    async with TestServer(application(engine)) as server:
        target = Target(url=str(server.make_url("")), model="tiny", replica="vllm-0")
        setting, dictionary = Config(canary=Setting(interval_seconds=60)), Dictionary(connected)
        calls = RequestStore(connected, dictionary)
        watching = asyncio.create_task(watch(target, setting, FleetStore(connected, dictionary), calls=calls, sleep=sleep))
        async with asyncio.timeout(10):
            await called.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [(2, 3, 11)] * 2 == await rows(look, "requests", "observed_by, traffic_class, outcome")
    assert ("canary_failed",) in await rows(look, "events", "kind")
    assert [(0,)] == await rows(look, "pulses", "count(*)")
