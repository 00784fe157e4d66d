from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector import metrics
from collector.config import Config, Target
from collector.errors import StoreUnavailable
from collector.event import Event, EventKind
from collector.replica import ReplicaState
from collector.sample import Health, Snapshot
from collector.scrape import RECHECK_SECONDS, Watcher, check, watch
from collector.store.fleet import FleetStore

HTML = "<!DOCTYPE html><html>" + "x" * 200
BOOT = "process_start_time_seconds 1.795476"
PAGE = (Path(__file__).parent.parent / "data" / "vllm" / "metrics_load.txt").read_text()


class Engine:
    """A server that answers as it is told."""

    def __init__(self) -> None:
        self.health = 200
        self.page = PAGE
        self.status = 200

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async def health(_: web.Request) -> web.Response:
            return web.Response(status=self.health)

        async def page(_: web.Request) -> web.Response:
            return web.Response(status=self.status, text=self.page)

        app = web.Application()
        app.add_routes([web.get("/health", health), web.get("/metrics", page)])
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")


class Kept:
    """Stands in for the store: remembers, or is away."""

    def __init__(self) -> None:
        self.states: list[ReplicaState] = []
        self.events: list[Event] = []
        self.snapshots: list[Snapshot] = []
        self.away = False

    async def write(self, state: ReplicaState, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> None:
        if self.away:
            raise StoreUnavailable("Postgres did not commit", 2)
        self.states.append(state)
        self.events += events
        self.snapshots += snapshots


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[tuple[Watcher, Kept, Clock]]:
    kept, clock = Kept(), Clock()
    async with aiohttp.ClientSession() as session:
        yield Watcher(Target(url=url, replica="vllm-0"), Config(), cast(FleetStore, kept), session, clock), kept, clock


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def test_healthy_target_is_asked_at_its_own_pace(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        assert 5.0 == await watcher.check_health()
        assert 15.0 == await watcher.scrape()
    assert [Health.READY, Health.READY] == [state.health for state in kept.states]
    assert ("tiny", 23.0) == (kept.states[-1].model, kept.states[-1].requests_running)


async def test_failing_target_is_looked_at_again_soon(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.check_health()
        engine.health = 503
        assert RECHECK_SECONDS == await watcher.check_health()
    assert ([EventKind.ENGINE_DOWN], 503) == ([event.kind for event in kept.events], kept.states[-1].health_status)


async def test_target_that_is_gone_is_unreachable_and_its_scrape_failed() -> None:
    async with watching("http://127.0.0.1:1") as (watcher, kept, _):
        await watcher.check_health()
        await watcher.scrape()
        await watcher.scrape()
    assert Health.UNREACHABLE is kept.states[-1].health
    assert [(EventKind.SCRAPE_FAILED, {"reason": "ClientConnectorError"})] == [(one.kind, one.detail) for one in kept.events]


@pytest.mark.parametrize(
    ("status", "page", "reason"),
    [
        (
            200,
            "<!DOCTYPE html><html>" + "x" * 200,
            "not a line of the Prometheus text format: '<!DOCTYPE html><html>" + "x" * 59 + "'",
        ),
        (502, "bad gateway", "HTTP 502"),
        (200, "", "the page is empty"),
    ],
)
async def test_answer_that_is_no_exposition_is_a_failed_scrape(engine: Engine, status: int, page: str, reason: str) -> None:
    engine.status, engine.page = status, page
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.scrape()
    assert [{"reason": reason}] == [event.detail for event in kept.events]
    assert [] == kept.snapshots


async def test_counters_and_histograms_are_kept_once_a_minute_and_gauges_each_time(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, clock):
        for _ in range(9):
            await watcher.scrape()
            clock.move(15)
    full = [bool(snapshot.histograms) and metrics.PROMPT_TOKENS in snapshot.values for snapshot in kept.snapshots]
    assert [True, False, False, False, True, False, False, False, True] == full
    assert all(metrics.KV_CACHE_USAGE in snapshot.values for snapshot in kept.snapshots)


async def test_restart_is_kept_with_everything(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, clock):
        await watcher.scrape()
        clock.move(5)
        engine.page = PAGE.replace(
            "process_start_time_seconds 1.79547629374e+09", "process_start_time_seconds 1.79547699999e+09"
        )
        await watcher.scrape()
    assert [EventKind.RESTART] == [event.kind for event in kept.events]
    assert all(snapshot.histograms for snapshot in kept.snapshots)


async def test_what_cannot_be_kept_is_dropped_and_the_next_look_goes_on(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        kept.away = True
        await watcher.check_health()
        engine.health = 503
        await watcher.check_health()
        kept.away = False
        await watcher.check_health()
    assert [Health.FAILING] == [state.health for state in kept.states]


async def test_watch_goes_on_until_it_is_cancelled(engine: Engine) -> None:
    kept, pauses = Kept(), asyncio.Queue[float]()

    async def sleep(seconds: float) -> None:
        await pauses.put(seconds)
        await asyncio.Event().wait()

    async with engine.serve() as url:
        task = asyncio.create_task(watch(Target(url=url), Config(), cast(FleetStore, kept), now=Clock(), sleep=sleep))
        assert {5.0, 15.0} == {await pauses.get(), await pauses.get()}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert 2 == len(kept.states)


async def test_check_says_what_a_target_is_and_what_nobody_reads(engine: Engine) -> None:
    engine.page = PAGE + 'vllm:brand_new_total{engine="0",model_name="tiny"} 1\n'
    async with engine.serve() as url:
        there, gone = await check([Target(url=url, replica="a"), Target(url="http://127.0.0.1:1", replica="b")])
    assert (None, ("tiny",), ("0",)) == (there.failure, there.models, there.engines)
    assert "brand_new" in there.unknown
    assert ("b", "ClientConnectorError") == (gone.replica, gone.failure)
