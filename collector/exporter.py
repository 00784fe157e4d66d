"""One loop per exporter: what NVIDIA's DCGM says of GPUs, and kube-state-metrics of containers. An exporter is no replica.

What they say of a pod is told of the target that it is: by its address, its name, or the name in the target's URL. Containers
that are no target are the business of whoever runs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import aiohttp
import structlog

from collector import telemetry
from collector.config import Config
from collector.death_sign import Says, find_sign
from collector.engines import dcgm, kube_state
from collector.engines.dcgm import Gpu
from collector.engines.kube_state import Container, Place, Restarted
from collector.errors import MalformedExposition, StoreUnavailable
from collector.event import Event, EventKind
from collector.exposition import Parser
from collector.fetch import FailedScrape, fetch
from collector.metrics import GPU_MEMORY_FREE, GPU_MEMORY_USED, EngineName, Family
from collector.replica import ReplicaState
from collector.sample import Sample, Snapshot
from collector.store.fleet import FleetStore
from collector.target import Target

LARGEST_CLUSTER_BYTES = 128 * 2**20
"""A page of kube-state-metrics of some ten thousand pods."""
MOST_EVENTS_KEPT = 1000
log = structlog.get_logger()


class Exporter:
    """One exporter, as far as its pages have shown."""

    def __init__(
        self,
        target: Target,
        config: Config,
        fleet: FleetStore,
        session: aiohttp.ClientSession,
        now: Callable[[], datetime],
        known: Callable[[], Sequence[Target]],
    ) -> None:
        self._target = target
        self._known = known
        self._fleet = fleet
        self._session = session
        self._now = now
        self._parser = Parser()
        self._xids: Mapping[str, int] | None = None
        self._containers: Mapping[Place, Container] | None = None
        self._waiting: tuple[Event, ...] = ()
        self._failing = False
        at = now()
        self._state = ReplicaState(
            replica=target.replica_name,
            url=target.url.rstrip("/"),
            environment=target.environment or config.environment,
            cluster=config.cluster,
            health_since=at,
            checked_at=at,
        )

    async def scrape(self) -> float:
        """One scrape. Returns the pause before the next [s]."""
        at = self._now()
        try:
            samples = await self._samples()
        except FailedScrape as failed:
            telemetry.SCRAPES.labels(self._state.replica, "failed").inc()
            await self._write(self._failed(str(failed), at), ())
            return self._target.scrape_seconds
        telemetry.SCRAPES.labels(self._state.replica, "ok").inc()
        events, self._failing = self._recovered(at), False
        if self._target.engine is EngineName.DCGM:
            gpus = dcgm.read_gpus(samples)
            await self._write((*events, *self._see_gpus(gpus, at)), [self._gpu_snapshot(gpu, at) for gpu in gpus])
        else:
            await self._write((*events, *self._see_containers(samples, at)), ())
        return self._target.scrape_seconds

    async def _samples(self) -> list[Sample]:
        url = f"{self._state.url}/metrics"
        try:
            if self._target.engine is EngineName.DCGM:
                return self._parser.parse(await fetch(self._session, url)).samples()
            return await read_cluster(await fetch(self._session, url, most_bytes=LARGEST_CLUSTER_BYTES))
        except MalformedExposition as malformed:
            raise FailedScrape(str(malformed)) from malformed

    def _failed(self, reason: str, at: datetime) -> tuple[Event, ...]:
        if self._failing:
            return ()
        self._failing = True
        log.warning("scrape failed", replica=self._state.replica, reason=reason)
        return (Event(at=at, kind=EventKind.SCRAPE_FAILED, replica=self._state.replica, detail={"reason": reason}),)

    def _recovered(self, at: datetime) -> tuple[Event, ...]:
        return (Event(at=at, kind=EventKind.SCRAPE_RECOVERED, replica=self._state.replica),) if self._failing else ()

    def _see_gpus(self, gpus: Sequence[Gpu], at: datetime) -> list[Event]:
        self._xids, seen = dcgm.see_gpus(self._xids, gpus)
        return [Event(at=at, kind=EventKind.GPU_XID, replica=self._replica_of(one.gpu.pod), detail=one.detail) for one in seen]

    def _gpu_snapshot(self, gpu: Gpu, at: datetime) -> Snapshot:
        found: dict[Family, float | None] = {GPU_MEMORY_USED: gpu.used_bytes, GPU_MEMORY_FREE: gpu.free_bytes}
        return Snapshot(
            scraped_at=at,
            replica=self._replica_of(gpu.pod),
            engine=f"gpu{gpu.number}",
            model="unknown",
            values={family: value for family, value in found.items() if value is not None},
            histograms={},
        )

    def _see_containers(self, samples: Sequence[Sample], at: datetime) -> list[Event]:
        now = kube_state.read_containers(samples)
        seen = kube_state.see_containers(self._containers, now)
        self._containers = now
        addresses = {pod: ip for ip, pod in kube_state.read_addresses(samples).items()} if seen else {}
        told = ((one, replica_of(self._known(), one.place.pod, addresses.get(one.place.pod))) for one in seen)
        return [container_event(one, replica, at) for one, replica in told if replica is not None]

    def _replica_of(self, pod: str) -> str:
        return replica_of(self._known(), pod, None) or self._state.replica

    async def _write(self, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> None:
        self._waiting = (*self._waiting, *events)[-MOST_EVENTS_KEPT:]
        if not self._waiting and not snapshots:
            return
        try:
            await self._fleet.write_observed(self._state, self._waiting, snapshots)
            self._waiting = ()
        except StoreUnavailable:
            telemetry.OBSERVATIONS_DROPPED.inc()


def replica_of(targets: Sequence[Target], pod: str, ip: str | None) -> str | None:
    """The replica that a pod is: the target that has its address, its name, or its name before the first dot of a host."""
    for target in targets:
        if not pod or target.engine in (EngineName.DCGM, EngineName.KUBE_STATE):
            continue
        host = urlsplit(target.url).hostname or ""
        if pod in (target.replica_name, host.partition(".")[0]) or (ip is not None and host == ip):
            return target.replica_name
    return None


def container_event(restarted: Restarted, replica: str, at: datetime) -> Event:
    """What the restart of a container tells of its replica: that it died for lack of host memory, or only that it restarted."""
    sign = find_sign(kube_state.OOM_KILLED) if restarted.oom_killed else None
    if sign is None or sign.says is not Says.OOM:
        return Event(at=at, kind=EventKind.CONTAINER_RESTART, replica=replica, detail=restarted.detail)
    cause = {"cause": sign.says.value, "pattern": str(sign.pattern), "requests": ""}
    return Event(at=at, kind=EventKind.DEATH, replica=replica, detail=cause | restarted.detail)


async def read_cluster(text: str) -> list[Sample]:
    """What a page of kube-state-metrics says of containers. It is too long to be looked through while everybody waits.

    :raises MalformedExposition: where it says nothing of them
    """
    return await asyncio.to_thread(_parse_containers, text)


def _parse_containers(text: str) -> list[Sample]:
    lines = kube_state.KEPT_LINES.findall(text)
    if not lines:
        raise MalformedExposition("no container of Kubernetes on the page: another server, or one that may not list pods")
    return Parser().parse("\n".join(lines)).samples()
