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
from collector.config import Config
from collector.errors import StoreUnavailable
from collector.event import Change, ChangeKind, Event, EventKind
from collector.fetch import LARGEST_PAGE_BYTES, session
from collector.metrics import EngineName
from collector.pages import LONG_PAGE
from collector.replica import ReplicaState
from collector.sample import Health, Snapshot
from collector.scrape import RECHECK_SECONDS, Watcher, start_offset, watch
from collector.store.fleet import FleetStore
from collector.target import Target

DATA = Path(__file__).parent.parent / "data"
PAGES = DATA / "engines"
PAGE = (DATA / "vllm" / "metrics_load.txt").read_text()
OLLAMA = (PAGES / "ollama_ps.json").read_text()


class Engine:
    """A server that answers as it is told."""

    def __init__(self) -> None:
        self.health = 200
        self.page = PAGE
        self.status = 200
        self.version: object = {"version": "0.32.0"}
        self.versions_asked = 0
        self.models: str | None = None
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

        async def version(_: web.Request) -> web.Response:
            self.versions_asked += 1
            return web.json_response(self.version)

        async def models(_: web.Request) -> web.Response:
            return web.Response(status=404) if self.models is None else web.Response(text=self.models)

        app = web.Application()
        app.add_routes([web.get("/health", health), web.get("/metrics", page), web.get("/login", login)])
        app.add_routes([web.get("/version", version), web.get("/api/version", version), web.get("/server_info", version)])
        app.add_routes([web.get("/api/ps", models), web.get("/v1/models", models)])
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")


class Kept:
    """Stands in for the store: remembers, is away, or takes its time."""

    def __init__(self) -> None:
        self.states: list[ReplicaState] = []
        self.events: list[Event] = []
        self.changes: list[Change] = []
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

    async def write_change(self, change: Change) -> None:
        if self.away:
            raise StoreUnavailable("Postgres did not commit", 2)
        self.changes.append(change)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@asynccontextmanager
async def watching(url: str, engine: EngineName | None = None) -> AsyncIterator[tuple[Watcher, Kept, Clock]]:
    kept, clock = Kept(), Clock()
    target = Target(url=url, replica="vllm-0", engine=engine)
    async with session() as client:
        yield Watcher(target, Config(), cast(FleetStore, kept), client, clock), kept, clock


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
        (200, "node_load1 2", "no engine's metric on the page: another server, or metrics are off"),
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


async def test_another_version_is_a_change_and_is_asked_for_after_a_restart_alone(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, clock):
        for _ in range(3):
            await watcher.scrape()
            clock.move(15)
        assert (1, []) == (engine.versions_asked, kept.changes)
        engine.version = {"version": "0.33.0"}
        engine.page = PAGE.replace(
            "process_start_time_seconds 1.79547629374e+09", "process_start_time_seconds 1.79547699999e+09"
        )
        for _ in range(3):
            await watcher.scrape()
            clock.move(15)
    assert 2 == engine.versions_asked
    ((kind, replica, detail),) = [(change.kind, change.replica, change.detail) for change in kept.changes]
    assert (ChangeKind.VERSION, "vllm-0", {"from": "0.32.0", "to": "0.33.0"}) == (kind, replica, detail)


async def test_metric_that_a_new_version_lacks_is_told_once_it_has_settled(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, clock):
        await watcher.scrape()
        engine.version = {"version": "0.33.0"}
        engine.page = "".join(line for line in PAGE.splitlines(keepends=True) if "num_preemptions" not in line).replace(
            "process_start_time_seconds 1.79547629374e+09", "process_start_time_seconds 1.79547699999e+09"
        )
        for _ in range(4):
            clock.move(300)
            await watcher.scrape()
    gone = [event.detail for event in kept.events if event.kind is EventKind.METRICS_GONE]
    assert [{"metrics": "preemptions, request_preemptions", "from": "0.32.0", "to": "0.33.0"}] == gone


async def test_change_that_could_not_be_kept_is_kept_by_a_later_write(engine: Engine) -> None:
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.scrape()
        engine.version, kept.away = {"version": "0.33.0"}, True
        engine.page = PAGE.replace(
            "process_start_time_seconds 1.79547629374e+09", "process_start_time_seconds 1.79547699999e+09"
        )
        await watcher.scrape()
        kept.away = False
        await watcher.check_health()
        await watcher.check_health()
    assert [ChangeKind.VERSION] == [change.kind for change in kept.changes]


@pytest.mark.parametrize("answer", [None, [], {"version": 3}, {"version": ""}, {"other": "1"}, "1"])
async def test_version_that_is_not_told_is_no_fact(engine: Engine, answer: object) -> None:
    engine.version = answer
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.scrape()
    assert ([], 1) == (kept.changes, len(kept.snapshots))


async def test_engine_without_a_page_that_lists_models_is_ollama(engine: Engine) -> None:
    engine.status, engine.models = 404, OLLAMA
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.scrape()
        await watcher.scrape()
    assert ["llama3.3:70b", "qwen3:8b"] * 2 == [snapshot.model for snapshot in kept.snapshots]


async def test_engine_that_takes_the_place_of_another_is_recognised_anew(engine: Engine) -> None:
    engine.status, engine.models = 404, OLLAMA
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.scrape()
        engine.status, engine.models = 200, None
        await watcher.scrape()
        await watcher.scrape()
    assert ["llama3.3:70b", "qwen3:8b", "tiny"] == [snapshot.model for snapshot in kept.snapshots]


async def test_metric_that_comes_and_goes_costs_one_question_each_time(engine: Engine) -> None:
    without = "".join(line for line in PAGE.splitlines(keepends=True) if "num_preemptions" not in line)
    async with engine.serve() as url, watching(url) as (watcher, *_):
        for page in (PAGE, PAGE, without, without, without, PAGE):
            engine.page = page
            await watcher.scrape()
    assert 3 == engine.versions_asked


async def test_ollama_is_healthy_where_it_says_its_version(engine: Engine) -> None:
    engine.health, engine.models = 404, OLLAMA
    async with engine.serve() as url, watching(url, EngineName.OLLAMA) as (watcher, kept, _):
        await watcher.check_health()
        await watcher.scrape()
    assert [(Health.READY, False)] * 2 == [(state.health, state.zombie) for state in kept.states]


async def test_missing_health_check_says_nothing_of_an_engine_that_is_not_known_yet(engine: Engine) -> None:
    engine.health, engine.status, engine.models = 404, 404, OLLAMA
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.check_health()
        assert [] == kept.states
        await watcher.scrape()
        await watcher.check_health()
    assert [Health.UNKNOWN, Health.READY] == [state.health for state in kept.states]
    assert [] == kept.events


async def test_page_without_a_model_gets_the_one_that_the_engine_tells(engine: Engine) -> None:
    engine.page = (PAGES / "llama_cpp_2026.txt").read_text()
    engine.models = '{"object":"list","data":[{"id":"qwen3-30b","object":"model","owned_by":"llamacpp"}]}'
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.scrape()
    assert [("qwen3-30b", 2.0)] == [(one.model, one.values[metrics.REQUESTS_RUNNING]) for one in kept.snapshots]


async def test_counters_of_an_engine_without_histograms_are_kept_once_a_minute_too(engine: Engine) -> None:
    engine.page = (PAGES / "llama_cpp_2026.txt").read_text()
    async with engine.serve() as url, watching(url) as (watcher, kept, clock):
        for _ in range(5):
            await watcher.scrape()
            clock.move(15)
    full = [metrics.GENERATION_TOKENS in snapshot.values for snapshot in kept.snapshots]
    assert [True, False, False, False, True] == full


@pytest.mark.parametrize(
    ("stated", "page", "reason"),
    [
        (None, 'DCGM_FI_DEV_FB_USED{gpu="0"} 1', "a page of an exporter, which is no engine: its target needs engine: dcgm"),
        (None, "kube_pod_info 1", "a page of an exporter, which is no engine: its target needs engine: kube_state"),
        (EngineName.SGLANG, PAGE, "no metric of sglang on the page: another server, or metrics are off"),
    ],
)
async def test_page_of_another_program_is_a_failed_scrape_that_says_what_to_do(
    engine: Engine, stated: EngineName | None, page: str, reason: str
) -> None:
    engine.page = page
    async with engine.serve() as url, watching(url, stated) as (watcher, kept, _):
        await watcher.scrape()
    assert [{"reason": reason}] == [event.detail for event in kept.events]


async def test_exporter_is_watched_without_health_checks(engine: Engine) -> None:
    pauses = asyncio.Queue[float]()

    async def sleep(seconds: float) -> None:
        await pauses.put(seconds)
        await asyncio.Event().wait()

    engine.asked = lambda: pytest.fail("an exporter has no health")
    engine.page = (PAGES / "dcgm.txt").read_text()
    seen: list[Snapshot] = []

    class Observed(Kept):
        async def write_observed(self, state: ReplicaState, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> None:
            seen.extend(snapshots)

    async with engine.serve() as url:
        target = Target(url=url, engine=EngineName.DCGM)
        task = asyncio.create_task(watch(target, Config(), cast(FleetStore, Observed()), now=Clock(), sleep=sleep))
        assert 15.0 == await pauses.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ["gpu0", "gpu1", "gpu2"] == [snapshot.engine for snapshot in seen]


async def test_long_page_is_read_like_any_other(engine: Engine) -> None:
    engine.page = PAGE + "\n".join(f'other{{number="{number}"}} 1' for number in range(40_000))
    assert len(engine.page) > LONG_PAGE
    async with engine.serve() as url, watching(url) as (watcher, kept, _):
        await watcher.scrape()
    assert [23.0] == [snapshot.values[metrics.REQUESTS_RUNNING] for snapshot in kept.snapshots]


def test_many_targets_are_looked_at_one_after_the_other_and_a_few_at_once() -> None:
    def offsets(targets: int) -> list[float]:
        return sorted(
            start_offset(Target(url="http://a", replica=f"vllm-{number}", health_seconds=5), targets)
            for number in range(targets)
        )

    assert max(offsets(10)) < 0.05
    many = offsets(1000)
    assert (True, True) == (many[0] >= 0, many[-1] < 5)
    assert all(abs(offset - 5 * place / 1000) < 0.5 for place, offset in enumerate(many))
