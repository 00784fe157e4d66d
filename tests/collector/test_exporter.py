from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from alerts.crash import is_oom
from collector.config import Config
from collector.death_sign import MEMORIES
from collector.errors import StoreUnavailable
from collector.event import Event, EventKind
from collector.exporter import Exporter, replica_of
from collector.fetch import session
from collector.metrics import GPU_MEMORY_FREE, GPU_MEMORY_USED, EngineName
from collector.replica import ReplicaState
from collector.sample import Snapshot
from collector.store.fleet import FleetStore
from collector.target import Target

PAGES = Path(__file__).parent.parent / "data" / "engines"
DCGM, KUBE_STATE = ((PAGES / f"{name}.txt").read_text() for name in ("dcgm", "kube_state"))
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
TARGETS = (
    Target(url="http://10.1.0.7:8000", replica="a"),
    Target(url="http://vllm-1.vllm.llm.svc:8000"),
    Target(url="http://10.9.9.9:8000", replica="vllm-7f9c-abcde"),
    Target(url="http://node-a:9400", engine=EngineName.DCGM),
)
UNKNOWN_POD = 'kube_pod_container_status_restarts_total{namespace="llm",pod="other-0",uid="u2",container="app"} '


class Kept:
    """Stands in for the store."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.snapshots: list[Snapshot] = []
        self.away = False

    async def write_observed(self, state: ReplicaState, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> None:
        if self.away:
            raise StoreUnavailable("Postgres did not commit", 2)
        self.events += events
        self.snapshots += snapshots


class Page:
    """What the exporter answers."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.status = 200


@asynccontextmanager
async def exporting(engine: EngineName, page: Page) -> AsyncIterator[tuple[Exporter, Kept]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=page.text, status=page.status)

    app, kept = web.Application(), Kept()
    app.add_routes([web.get("/metrics", answer)])
    async with TestServer(app) as server, session() as client:
        target = Target(url=str(server.make_url("")), replica="exporter", engine=engine)
        yield Exporter(target, Config(), cast(FleetStore, kept), client, lambda: AT, lambda: TARGETS), kept


async def test_gpu_memory_is_kept_for_the_replica_that_has_the_gpu() -> None:
    async with exporting(EngineName.DCGM, Page(DCGM)) as (exporter, kept):
        await exporter.scrape()
    assert [("exporter", "gpu0"), ("vllm-1.vllm.llm.svc:8000", "gpu1"), ("exporter", "gpu2")] == [
        (snapshot.replica, snapshot.engine) for snapshot in kept.snapshots
    ]
    assert {GPU_MEMORY_USED: 75876.0 * 2**20, GPU_MEMORY_FREE: 5120.0 * 2**20} == kept.snapshots[0].values
    assert [] == kept.events


async def test_new_xid_of_a_gpu_is_an_event_of_its_replica() -> None:
    page = Page(DCGM)
    async with exporting(EngineName.DCGM, page) as (exporter, kept):
        await exporter.scrape()
        page.text = "\n".join(
            line[:-1] + "79" if line.startswith('DCGM_FI_DEV_XID_ERRORS{gpu="1"') else line for line in DCGM.splitlines()
        )
        await exporter.scrape()
        await exporter.scrape()
    ((kind, replica, detail),) = [(event.kind, event.replica, event.detail) for event in kept.events]
    assert (EventKind.GPU_XID, "vllm-1.vllm.llm.svc:8000") == (kind, replica)
    assert ("79", "GPU fell off the bus", "vllm-1") == (detail["xid"], detail["meaning"], detail["pod"])


async def test_container_that_was_killed_is_a_death_of_its_replica_for_lack_of_host_memory() -> None:
    page = Page(KUBE_STATE)
    async with exporting(EngineName.KUBE_STATE, page) as (exporter, kept):
        await exporter.scrape()
        page.text = KUBE_STATE.replace('uid="u1",container="engine"} 3', 'uid="u1",container="engine"} 4').replace(
            f"{UNKNOWN_POD}1", f"{UNKNOWN_POD}2"
        )
        await exporter.scrape()
        await exporter.scrape()
    (event,) = kept.events
    assert (EventKind.DEATH, "vllm-7f9c-abcde", "oom", "OOMKilled", "137") == (
        event.kind,
        event.replica,
        event.detail["cause"],
        event.detail["reason"],
        event.detail["exit_code"],
    )
    assert is_oom(event)
    assert "host" == MEMORIES[event.detail["pattern"]]
    assert [] == kept.snapshots


async def test_other_restart_of_a_container_is_an_event_of_the_target_with_its_address() -> None:
    page = Page(KUBE_STATE)
    async with exporting(EngineName.KUBE_STATE, page) as (exporter, kept):
        await exporter.scrape()
        page.text = KUBE_STATE.replace('uid="u0",container="engine"} 0', 'uid="u0",container="engine"} 1')
        await exporter.scrape()
    assert [(EventKind.CONTAINER_RESTART, "a", "1")] == [(one.kind, one.replica, one.detail["restarts"]) for one in kept.events]


@pytest.mark.parametrize("text", ["<html>", "", "kube_namespace_created 1", "node_load1 2"])
async def test_page_without_containers_fails_once_and_recovers_once(text: str) -> None:
    page = Page(text)
    async with exporting(EngineName.KUBE_STATE, page) as (exporter, kept):
        await exporter.scrape()
        await exporter.scrape()
        page.text = KUBE_STATE
        await exporter.scrape()
        await exporter.scrape()
    assert [EventKind.SCRAPE_FAILED, EventKind.SCRAPE_RECOVERED] == [event.kind for event in kept.events]


async def test_event_that_could_not_be_kept_is_kept_by_the_next_write() -> None:
    page = Page(DCGM)
    page.status = 503
    async with exporting(EngineName.DCGM, page) as (exporter, kept):
        kept.away = True
        await exporter.scrape()
        kept.away = False
        await exporter.scrape()
    assert [{"reason": "HTTP 503"}] == [event.detail for event in kept.events]


@pytest.mark.parametrize(
    ("pod", "ip", "expected"),
    [
        ("vllm-1", None, "vllm-1.vllm.llm.svc:8000"),
        ("vllm-7f9c-abcde", "10.1.0.8", "vllm-7f9c-abcde"),
        ("anything", "10.1.0.7", "a"),
        ("anything", "10.1.0.70", None),
        ("node-a", None, None),
        ("", None, None),
    ],
)
def test_pod_is_the_target_with_its_address_or_its_name(pod: str, ip: str | None, expected: str | None) -> None:
    assert expected == replica_of(TARGETS, pod, ip)
