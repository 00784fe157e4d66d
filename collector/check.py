"""One look at each target, for a person who sets them up: what it is, what it says, what stays empty, and what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp

from collector.engines import dcgm, kube_state
from collector.engines.plan import Plan
from collector.errors import MalformedExposition
from collector.exporter import LARGEST_CLUSTER_BYTES, read_cluster
from collector.exposition import parse
from collector.fetch import FailedScrape, ask_health, fetch, session
from collector.metrics import FAMILIES, EngineName
from collector.pages import EXPORTERS, Pages
from collector.sample import Health, Snapshot
from collector.target import Target

_NO_TIME = datetime.fromtimestamp(0, UTC)


class Checked(NamedTuple):
    """What one look at a target found."""

    replica: str
    url: str
    failure: str | None
    """Why nothing can be read; ``None`` where something can."""
    health: Health = Health.UNKNOWN
    health_status: int | None = None
    engine: str | None = None
    version: str | None = None
    """As the target says it; ``None`` where it does not."""
    models: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    """The labels of the engines on its page; "" where it has no label, or for what several share."""
    roles: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    """Our names of what it says; of an exporter its own."""
    unknown: tuple[str, ...] = ()
    """Its names that nobody here knows."""
    empty: tuple[str, ...] = ()
    """Our names of what stays empty, because it does not say it."""


async def check(targets: Sequence[Target]) -> list[Checked]:
    """Ask each target once."""
    async with session() as client:
        return list(await asyncio.gather(*(_check(client, target) for target in targets)))


async def _check(client: aiohttp.ClientSession, target: Target) -> Checked:
    nothing = Checked(target.replica_name, target.url, None)
    try:
        if target.engine in EXPORTERS:
            return await _check_exporter(client, target, nothing)
        pages = Pages(client, target)
        plan, values = await pages.next()
    except FailedScrape as failed:
        health, status = await ask_health(client, target.url.rstrip("/"))
        return nothing._replace(failure=str(failed), health=health, health_status=status)
    seconds = plan.engine.health_timeout_seconds
    health, status = await ask_health(client, target.url.rstrip("/"), plan.engine.health_path, seconds)
    named = any(part.model for part in plan.parts)
    model = target.model or (None if named else await pages.model())
    snapshots = plan.snapshots(values, scraped_at=_NO_TIME, replica=target.replica_name, model=model, scrape_seconds=0.0)
    seen = nothing._replace(health=health, health_status=status, version=await pages.version())
    return _described(seen, plan, snapshots)


def _described(checked: Checked, plan: Plan, snapshots: Sequence[Snapshot]) -> Checked:
    kept = {family for snapshot in snapshots for family in (*snapshot.values, *snapshot.histograms)}
    return checked._replace(
        engine=plan.engine.name.value,
        models=_distinct(snapshot.model for snapshot in snapshots),
        engines=tuple(snapshot.engine for snapshot in snapshots),
        roles=_distinct(snapshot.role for snapshot in snapshots if snapshot.role),
        known=tuple(family.name for family in FAMILIES if family in kept),
        unknown=plan.unknown,
        empty=tuple(family.name for family in FAMILIES if family not in kept),
    )


async def _check_exporter(client: aiohttp.ClientSession, target: Target, nothing: Checked) -> Checked:
    assert target.engine is not None
    url = f"{target.url.rstrip('/')}/metrics"
    described = nothing._replace(engine=target.engine.value)
    try:
        if target.engine is EngineName.KUBE_STATE:
            samples = await read_cluster(await fetch(client, url, most_bytes=LARGEST_CLUSTER_BYTES))
            places = kube_state.read_containers(samples)
            return described._replace(
                engines=_distinct(f"{place.namespace}/{place.pod}/{place.container}" for place in places),
                known=_distinct(sample.name for sample in samples),
            )
        samples = parse(await fetch(client, url))
    except MalformedExposition as malformed:
        raise FailedScrape(str(malformed)) from malformed
    gpus = dcgm.read_gpus(samples)
    if not gpus:
        raise FailedScrape("no GPU on the page: another server, or an exporter without its default counters")
    names = {sample.name for sample in samples}
    unknown = dcgm.unknown_names(names)
    known = {name for name in names if name.startswith(dcgm.PREFIX)} - set(unknown)
    return described._replace(engines=tuple(gpu.number for gpu in gpus), known=_distinct(known), unknown=unknown)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
