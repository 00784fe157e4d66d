from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY

from collector import metrics
from collector.config import Config, Target
from collector.errors import StoreUnavailable
from collector.event import Event, EventKind
from collector.replica import ReplicaState
from collector.sample import Health, Snapshot
from collector.scrape import LARGEST_PAGE_BYTES, RECHECK_SECONDS, Watcher, check, session, watch
from collector.store.fleet import FleetStore

PAGE = (Path(__file__).parent.parent / "data" / "vllm" / "metrics_load.txt").read_text()


class Engine:
    """A server that answers as it is told."""

    def __init__(self) -> None:
        self.health = 200
        self.page = PAGE
        self.status = 200
        self.asked: Callable[[], None] = lambda: None
        self.connections: set[int] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async def health(request: web.Request) -> web.Response:
            self.asked()
            assert request.transport is not None
            self.connections.add(request.transport.get_extra_info("peername")[1])
            return web.Response(status=self.health, headers={"Location": "/login"} if self.health == 302 else None)

        async def login(_: web.Request) -> web.Response:
            return web.Response(text="who are you?")

        async def page(_: web.Request) -> web.Response:
            return web.Response(status=self.status, text=self.page)

        app = web.Application()
        app.add_routes([web.get("/health", health), web.get("/metrics", page), web.get("/login", login)])
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")


class Kept:
    """Stands in for the store: remembers, is away, or takes its time."""

    def __init__(self) -> None:
        self.states: list[ReplicaState] = []
        self.events: list[Event] = []
        self.snapshots: list[Snapshot] = []
        self.away = False
        self.gate, self.waiting = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self._at_once, self.most_at_once = 0, 0

    async def write(self, state: ReplicaState, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> None:
        if self.away:
            raise StoreUnavailable("Postgres did not commit", 2)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.waiting.set()
        await self.gate.wait()
        self._at_once -= 1
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
    async with session() as client:
        yield Watcher(Target(url=url, replica="vllm-0"), Config(), cast(FleetStore, kept), client, clock), kept, clock


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


async def test_redirect_to_a_page_that_answers_is_no_health(engine: Engine) -> None:
    engine.health = 302
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.check_health()
    assert (Health.FAILING, 302) == (kept.states[-1].health, kept.states[-1].health_status)


async def test_check_counts_from_its_start_however_long_the_answer_takes(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, clock):
        start = clock.now
        engine.asked = lambda: clock.move(3)
        await watcher.check_health()
    assert [start] == [state.checked_at for state in kept.states]


async def test_each_check_connects_anew(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, *_):
        for _ in range(3):
            await watcher.check_health()
    assert 3 == len(engine.connections)


async def test_two_loops_never_write_at_once(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.check_health()
        engine.health = 503
        kept.gate.clear()
        scrape = asyncio.create_task(watcher.scrape())
        await kept.waiting.wait()
        check = asyncio.create_task(watcher.check_health())
        while watcher.state.health is Health.READY:  # noqa: ASYNC110  # nothing sets an event there
            await asyncio.sleep(0)
        kept.gate.set()
        await asyncio.gather(scrape, check)
    assert (1, Health.FAILING) == (kept.most_at_once, kept.states[-1].health)


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
        (200, "node_load1 2", "no vllm: metric on the page: another server, or --disable-log-stats"),
        (200, "#" * (LARGEST_PAGE_BYTES + 1), f"a page of more than {LARGEST_PAGE_BYTES} bytes"),
    ],
    ids=["HTML", "bad gateway", "nothing", "another exporter", "too large"],
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


async def test_event_that_could_not_be_kept_is_kept_by_the_next_write(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.check_health()
        kept.away, engine.health = True, 503
        await watcher.check_health()
        await watcher.check_health()
        kept.away = False
        await watcher.check_health()
        await watcher.check_health()
    assert [EventKind.ENGINE_DOWN] == [event.kind for event in kept.events]


async def test_minute_whose_full_scrape_could_not_be_kept_gets_another(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, clock):
        kept.away = True
        await watcher.scrape()
        kept.away = False
        for _ in range(2):
            clock.move(15)
            await watcher.scrape()
    assert [True, False] == [bool(snapshot.histograms) for snapshot in kept.snapshots]


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


async def test_unexpected_exception_ends_no_loop_and_is_counted(engine: Engine) -> None:
    pauses = asyncio.Queue[float](maxsize=1)

    class Broken(Kept):
        async def write(self, *_: object) -> None:
            raise ValueError("no such thing")

    async def sleep(seconds: float) -> None:
        await pauses.put(seconds)

    before = REGISTRY.get_sample_value("llm_slo_loop_errors_total", {"loop": "scrape"}) or 0
    async with engine.serve() as url:
        task = asyncio.create_task(watch(Target(url=url), Config(), cast(FleetStore, Broken()), now=Clock(), sleep=sleep))
        assert [RECHECK_SECONDS] * 4 == [await pauses.get() for _ in range(4)]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert before + 4 <= (REGISTRY.get_sample_value("llm_slo_loop_errors_total", {"loop": "scrape"}) or 0)


async def test_check_says_what_a_target_is_and_what_nobody_reads(engine: Engine) -> None:
    engine.page = PAGE + 'vllm:brand_new_total{engine="0",model_name="tiny"} 1\n'
    async with engine.serve() as url:
        there, gone = await check([Target(url=url, replica="a"), Target(url="http://127.0.0.1:1", replica="b")])
    assert (None, Health.READY, 200) == (there.failure, there.health, there.health_status)
    assert (("tiny",), ("0",)) == (there.models, there.engines)
    assert "brand_new" in there.unknown
    assert ("b", Health.UNREACHABLE, "ClientConnectorError") == (gone.replica, gone.health, gone.failure)
