"""Two loops per target: its health every few seconds, its metrics less often. A failed scrape is a fact too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import NamedTuple

import aiohttp
import structlog

from collector import telemetry
from collector.config import Config, Target
from collector.engines import vllm
from collector.errors import MalformedExposition, StoreUnavailable
from collector.event import RESTARTS, Event
from collector.exposition import parse
from collector.metrics import Kind
from collector.replica import ReplicaState, Seen, see_failed_scrape, see_health, see_scrape
from collector.sample import Health, Sample, Snapshot
from collector.store.fleet import FleetStore
from collector.trace import tracer

HEALTH_TIMEOUT_SECONDS = 3.0
SCRAPE_TIMEOUT_SECONDS = 10.0
MOST_EVENTS_KEPT = 1000
"""Events of one target that wait in memory while Postgres is away; the oldest go first."""
RECHECK_SECONDS = 1.0
"""Time between two checks of a target that is not ready: whether it stays so is what a page waits for."""
LARGEST_PAGE_BYTES = 8 * 2**20

Now = Callable[[], datetime]
Sleep = Callable[[float], Awaitable[None]]
log = structlog.get_logger()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class FailedScrape(Exception):
    """A target gave no exposition. The message says why, without what it answered beyond 80 characters."""


def session() -> aiohttp.ClientSession:
    """A client that connects anew each time.

    Users do too; and a kept connection would stay with one process behind a name, and race with the server's idle timeout,
    which is vLLM's 5 s and our interval.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), cookie_jar=aiohttp.DummyCookieJar())


async def watch(
    target: Target, config: Config, fleet: FleetStore, *, now: Now = _utc_now, sleep: Sleep = asyncio.sleep
) -> None:
    """Watch one target until cancelled."""
    async with session() as client:
        watcher = Watcher(target, config, fleet, client, now)
        async with asyncio.TaskGroup() as loops:
            loops.create_task(_repeat(watcher.check_health, sleep))
            loops.create_task(_repeat(watcher.scrape, sleep))


async def _repeat(step: Callable[[], Awaitable[float]], sleep: Sleep) -> None:
    """Do a step again and again; it says how long to wait."""
    while True:
        try:
            pause = await step()
        except Exception as error:
            telemetry.LOOP_ERRORS.labels("scrape").inc()
            log.exception("watching failed", error=type(error).__name__)
            pause = RECHECK_SECONDS
        await sleep(pause)


class Watcher:
    """One target, as far as its checks and scrapes have shown."""

    def __init__(self, target: Target, config: Config, fleet: FleetStore, session: aiohttp.ClientSession, now: Now) -> None:
        self._target = target
        self._fleet = fleet
        self._session = session
        self._now = now
        self._url = target.url.rstrip("/")
        self._full_minute: datetime | None = None
        self._storing = True
        self._waiting: tuple[Event, ...] = ()
        self._writing = asyncio.Lock()
        self.state = ReplicaState(
            replica=target.replica_name,
            url=self._url,
            environment=target.environment or config.environment,
            cluster=config.cluster,
            model=target.model,
            health_since=now(),
            checked_at=now(),
        )

    async def check_health(self) -> float:
        """One health check. Returns the pause before the next [s]."""
        # A check that takes long counts from its start: one that runs into its timeout is one failed check, not two.
        at = self._now()
        health, status = await ask_health(self._session, self._url)
        seen = self._take(see_health(self.state, health, status, at))
        await self._write(seen, ())
        return self._target.health_seconds if health is Health.READY else min(RECHECK_SECONDS, self._target.health_seconds)

    async def scrape(self) -> float:
        """One scrape. Returns the pause before the next [s]."""
        start, at = perf_counter(), self._now()
        try:
            with tracer.start_as_current_span("scrape", attributes={"replica": self.state.replica}):
                samples = await fetch(self._session, self._url)
            took = perf_counter() - start
            snapshots = read(samples, self._target, at, took)
        except FailedScrape as failed:
            telemetry.SCRAPES.labels(self.state.replica, "failed").inc()
            seen = self._take(see_failed_scrape(self.state, str(failed), self._now()))
            if seen.events:
                log.warning("scrape failed", replica=self.state.replica, reason=str(failed))
            await self._write(seen, ())
            return self._target.scrape_seconds
        telemetry.SCRAPES.labels(self.state.replica, "ok").inc()
        telemetry.SCRAPE_SECONDS.observe(took)
        seen = self._take(see_scrape(self.state, snapshots, at))
        await self._write(seen, self._kept(snapshots, restarted=any(event.kind in RESTARTS for event in seen.events)))
        return self._target.scrape_seconds

    def _take(self, seen: Seen) -> Seen:
        """The new state is in force before it is written: the other loop must see it, whatever Postgres does."""
        self.state = seen.state
        return seen

    def _kept(self, snapshots: Sequence[Snapshot], *, restarted: bool) -> Sequence[Snapshot]:
        """Everything once a minute and after a restart; gauges alone in between."""
        minute = snapshots[0].scraped_at.replace(second=0, microsecond=0)
        if restarted or minute != self._full_minute:
            self._full_minute = minute
            return snapshots
        return [_gauges(snapshot) for snapshot in snapshots]

    async def _write(self, seen: Seen, snapshots: Sequence[Snapshot]) -> None:
        try:
            # One at a time and always the newest state: an older one that commits later would undo what the other loop saw.
            async with self._writing:
                # An event is seen once, so it waits in memory for the first write that commits.
                self._waiting = (*self._waiting, *seen.events)[-MOST_EVENTS_KEPT:]
                await self._fleet.write(self.state, self._waiting, snapshots)
                self._waiting = ()
        except StoreUnavailable as unavailable:
            # The minute still lacks its counters: the next scrape brings them.
            if any(snapshot.histograms for snapshot in snapshots):
                self._full_minute = None
            if self._storing:
                log.warning("what a target says is not kept", replica=self.state.replica, reason=str(unavailable))
            self._storing = False
            telemetry.OBSERVATIONS_DROPPED.inc()
        else:
            if not self._storing:
                log.info("what a target says is kept again", replica=self.state.replica)
            self._storing = True


async def ask_health(client: aiohttp.ClientSession, url: str) -> tuple[Health, int | None]:
    """One health check, with the HTTP status of the answer. A redirect is no health: a login page answers 200 too."""
    try:
        timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_SECONDS)
        async with client.get(f"{url}/health", timeout=timeout, allow_redirects=False) as response:
            return (Health.READY if response.status == 200 else Health.FAILING), response.status
    except (aiohttp.ClientError, TimeoutError):
        return Health.UNREACHABLE, None


def read(samples: Sequence[Sample], target: Target, at: datetime, took: float) -> list[Snapshot]:
    """The snapshots of a target's page, at least one.

    :raises FailedScrape: where none of it is the engine's
    """
    snapshots = vllm.read(samples, scraped_at=at, replica=target.replica_name, model=target.model, scrape_seconds=took)
    if not snapshots:
        raise FailedScrape("no vllm: metric on the page: another server, or --disable-log-stats")
    return snapshots


async def fetch(session: aiohttp.ClientSession, url: str) -> list[Sample]:
    """One page of metrics.

    :raises FailedScrape: where there is none
    """
    try:
        async with session.get(f"{url}/metrics", timeout=aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_SECONDS)) as response:
            if response.status != 200:
                raise FailedScrape(f"HTTP {response.status}")
            body = await response.content.read(LARGEST_PAGE_BYTES + 1)
            while len(body) <= LARGEST_PAGE_BYTES and (more := await response.content.read(LARGEST_PAGE_BYTES + 1 - len(body))):
                body += more
    except TimeoutError:
        raise FailedScrape(f"no answer within {SCRAPE_TIMEOUT_SECONDS:.0f} s") from None
    except aiohttp.ClientError as error:
        raise FailedScrape(type(error).__name__) from error
    if len(body) > LARGEST_PAGE_BYTES:
        raise FailedScrape(f"a page of more than {LARGEST_PAGE_BYTES} bytes")
    try:
        return parse(body.decode("utf-8", "replace"))
    except MalformedExposition as malformed:
        raise FailedScrape(str(malformed)) from malformed


class Checked(NamedTuple):
    """What one look at a target found, for a person who sets it up."""

    replica: str
    url: str
    health: Health
    health_status: int | None
    failure: str | None
    """Why there is no snapshot; ``None`` where there is one."""
    models: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    families: int = 0
    unknown: tuple[str, ...] = ()
    """The engine's metric names that nobody here reads."""


async def check(targets: Sequence[Target]) -> list[Checked]:
    """Scrape each target once."""
    async with session() as client:
        return list(await asyncio.gather(*(_check(client, target) for target in targets)))


async def _check(client: aiohttp.ClientSession, target: Target) -> Checked:
    url = target.url.rstrip("/")
    health, status = await ask_health(client, url)
    try:
        samples = await fetch(client, url)
        snapshots = read(samples, target, _utc_now(), 0.0)
    except FailedScrape as failed:
        return Checked(target.replica_name, target.url, health, status, str(failed))
    return Checked(
        target.replica_name,
        target.url,
        health,
        status,
        None,
        tuple(sorted({snapshot.model for snapshot in snapshots})),
        tuple(snapshot.engine for snapshot in snapshots),
        max(len(snapshot.values) + len(snapshot.histograms) for snapshot in snapshots),
        tuple(vllm.unknown_names(samples)),
    )


def _gauges(snapshot: Snapshot) -> Snapshot:
    values = {family: value for family, value in snapshot.values.items() if family.kind is Kind.GAUGE}
    return replace(snapshot, values=values, histograms={})
