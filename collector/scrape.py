"""Two loops per target: its health every few seconds, its metrics less often. A failed scrape is a fact too.

A third one, where the configuration wants it, calls the engine itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from time import perf_counter
from zlib import crc32

import aiohttp
import structlog

from collector import telemetry
from collector.canary import Canary
from collector.clock import utc_now
from collector.config import Config
from collector.engines.plan import Plan
from collector.errors import StoreUnavailable
from collector.event import RESTARTS, Change, Event, EventKind
from collector.exporter import Exporter
from collector.fetch import FailedScrape, ask_health, session
from collector.metrics import Family, Kind
from collector.pages import EXPORTERS, NOT_FOUND, Pages
from collector.replica import ReplicaState, Seen, see_failed_scrape, see_health, see_scrape
from collector.request import Request
from collector.sample import Health, Snapshot
from collector.store.fleet import FleetStore
from collector.store.request import Judged, RequestStore
from collector.target import Target
from collector.trace import tracer
from collector.upgrade import Known, see_families, see_version

MOST_EVENTS_KEPT = 1000
"""Events of one target that wait in memory while Postgres is away; the oldest go first."""
RECHECK_SECONDS = 1.0
"""Time between two checks of a target that is not ready: whether it stays so is what a page waits for."""
APART_SECONDS = 0.005
"""Time between two targets' looks, on average, as long as their interval has room for all."""

Now = Callable[[], datetime]
Sleep = Callable[[float], Awaitable[None]]
log = structlog.get_logger()


async def watch(
    target: Target,
    config: Config,
    fleet: FleetStore,
    *,
    calls: RequestStore | None = None,
    known: Callable[[], Sequence[Target]] | None = None,
    now: Now = utc_now,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Watch one target until cancelled.

    ``calls`` keeps what the canary's calls come to, where it is configured; nobody else writes with it. ``known`` gives all
    targets as they are now, of which an exporter may tell; those of the configuration unless given.
    """
    known = known or (lambda: config.targets)
    offset = start_offset(target, len(known()))
    if offset:
        await sleep(offset)
    async with session() as client, asyncio.TaskGroup() as loops:
        if target.engine in EXPORTERS:
            exporter = Exporter(target, config, fleet, client, now, known)
            loops.create_task(_repeat(exporter.scrape, sleep))
            return
        watcher = Watcher(target, config, fleet, client, now)
        loops.create_task(_repeat(watcher.check_health, sleep))
        loops.create_task(_repeat(watcher.scrape, sleep))
        if calls is not None and config.canary.interval_seconds is not None:

            async def keep(call: Request, events: tuple[Event, ...]) -> None:
                # It is synthetic, and no objective judges it.
                await calls.write([Judged(call, ())], now())
                await fleet.write_events(events)

            place = (config.cluster, config.environment)
            canary = Canary(target, config.canary, client, lambda: watcher.state.model, keep, now, place=place)
            loops.create_task(_repeat(canary.probe, sleep))


def start_offset(target: Target, targets: int) -> float:
    """How long to wait before the first look [s]: many looked at in one moment would wait for each other, and time out."""
    return min(APART_SECONDS * targets, target.health_seconds) * crc32(target.replica_name.encode()) / 2**32


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
        self._pages = Pages(session, target)
        self._model = target.model
        self._known = Known()
        self._ask_version = True
        self._families: frozenset[Family] = frozenset()
        self._changes: tuple[Change, ...] = ()
        self._full_minute: datetime | None = None
        self._storing = True
        self._waiting: tuple[Event, ...] = ()
        self._writing = asyncio.Lock()
        self.state = ReplicaState(
            replica=target.replica_name,
            url=target.url.rstrip("/"),
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
        engine = self._pages.engine
        if engine is None:
            health, status = await ask_health(self._session, self.state.url)
            if status == NOT_FOUND:
                # Not every engine has this path; which one it is, the first scrape tells.
                return min(RECHECK_SECONDS, self._target.health_seconds)
        else:
            path, seconds = engine.health_path, engine.health_timeout_seconds
            health, status = await ask_health(self._session, self.state.url, path, seconds)
        seen = self._take(see_health(self.state, health, status, at))
        self._ask_version = self._ask_version or any(event.kind is EventKind.ENGINE_READY for event in seen.events)
        await self._write(seen.events, ())
        return self._target.health_seconds if health is Health.READY else min(RECHECK_SECONDS, self._target.health_seconds)

    async def scrape(self) -> float:
        """One scrape. Returns the pause before the next [s]."""
        start, at = perf_counter(), self._now()
        try:
            with tracer.start_as_current_span("scrape", attributes={"replica": self.state.replica}):
                plan, values = await self._pages.next()
        except FailedScrape as failed:
            telemetry.SCRAPES.labels(self.state.replica, "failed").inc()
            seen = self._take(see_failed_scrape(self.state, str(failed), self._now()))
            if seen.events:
                log.warning("scrape failed", replica=self.state.replica, reason=str(failed))
            await self._write(seen.events, ())
            return self._target.scrape_seconds
        took = perf_counter() - start
        telemetry.SCRAPES.labels(self.state.replica, "ok").inc()
        telemetry.SCRAPE_SECONDS.observe(took)
        await self._name_model(plan)
        read = partial(
            plan.snapshots, values, scraped_at=at, replica=self.state.replica, model=self._model, scrape_seconds=took
        )
        snapshots = read(histograms=False)
        seen = self._take(see_scrape(self.state, snapshots, at))
        restarted = any(event.kind in RESTARTS for event in seen.events)
        full = self._is_full(at, restarted=restarted)
        events = (*seen.events, *await self._learn(plan, at, restarted=restarted))
        await self._write(events, read(histograms=True) if full else [_gauges(snapshot) for snapshot in snapshots], full=full)
        return self._target.scrape_seconds

    async def _name_model(self, plan: Plan) -> None:
        """An engine whose page names no model is asked for it, until it answers."""
        if self._model is None and not any(part.model for part in plan.parts):
            self._model = await self._pages.model()

    async def _learn(self, plan: Plan, at: datetime, *, restarted: bool) -> tuple[Event, ...]:
        """What the page says of the engine's version. It is asked for when it may have changed."""
        replica, model = self.state.replica, self.state.model
        if self._ask_version or restarted or plan.families != self._families:
            self._families = plan.families
            version = await self._pages.version()
            self._ask_version = False
            self._known, change = see_version(self._known, version, replica, model, at)
            if change is not None:
                log.info("another version", replica=replica, **change.detail)
                self._changes = (*self._changes, change)
        self._known, gone = see_families(self._known, plan.families, replica, model, at)
        return () if gone is None else (gone,)

    def _take(self, seen: Seen) -> Seen:
        """The new state is in force before it is written: the other loop must see it, whatever Postgres does."""
        self.state = seen.state
        return seen

    def _is_full(self, at: datetime, *, restarted: bool) -> bool:
        """Everything is kept once a minute and after a restart; gauges alone in between."""
        minute = at.replace(second=0, microsecond=0)
        if not restarted and minute == self._full_minute:
            return False
        self._full_minute = minute
        return True

    async def _write(self, events: Sequence[Event], snapshots: Sequence[Snapshot], *, full: bool = False) -> None:
        try:
            # One at a time and always the newest state: an older one that commits later would undo what the other loop saw.
            async with self._writing:
                # An event is seen once, so it waits in memory for the first write that commits.
                self._waiting = (*self._waiting, *events)[-MOST_EVENTS_KEPT:]
                await self._fleet.write(self.state, self._waiting, snapshots)
                self._waiting = ()
                while self._changes:
                    await self._fleet.write_change(self._changes[0])
                    self._changes = self._changes[1:]
        except StoreUnavailable as unavailable:
            # The minute still lacks its counters: the next scrape brings them.
            if full:
                self._full_minute = None
            if self._storing:
                log.warning("what a target says is not kept", replica=self.state.replica, reason=str(unavailable))
            self._storing = False
            telemetry.OBSERVATIONS_DROPPED.inc()
        else:
            if not self._storing:
                log.info("what a target says is kept again", replica=self.state.replica)
            self._storing = True


def _gauges(snapshot: Snapshot) -> Snapshot:
    values = {family: value for family, value in snapshot.values.items() if family.kind is Kind.GAUGE}
    return replace(snapshot, values=values, histograms={})
