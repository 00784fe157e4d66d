from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from alerts.fleet import OomRequests
from alerts.store.fleet import Traffic, read_fleet, read_last_event, read_traffic
from collector import schema
from collector.event import Change, ChangeKind, Event, EventKind
from collector.request import ObservedBy, Outcome
from collector.rollup import roll
from collector.sample import Health
from collector.schema.access import Role
from collector.store.fleet import FleetStore
from tests.alerts.scene import Scene, config_of, scene
from tests.migrations.login import login


@pytest.fixture
async def on(database: str) -> AsyncIterator[Scene]:
    async with scene(database, config_of()) as one:
        yield one


async def test_the_last_event_is_that_of_the_replica_or_of_the_model(on: Scene) -> None:
    await on.replica("vllm-0", Health.READY)
    await on.replica("vllm-1", Health.READY)
    for name, kind, ago in (("vllm-0", "oom", 60), ("vllm-1", "restart", 30), ("vllm-1", "scrape_failed", 10)):
        await on.execute(
            "INSERT INTO events (at, kind, replica_id, model_id, detail) "
            "SELECT %s, %s, replica_id, model_id, '{}' FROM replica_states WHERE replica_id = %s",
            (on.now - timedelta(seconds=ago), kind, on.dictionary.id(schema.replicas, name)),
        )

    async def last(model: str | None, replica: str | None, minutes: float = 0) -> str | None:
        async with on.database.transaction() as connection:
            event = await read_last_event(connection, model, replica, on.now + timedelta(minutes=minutes))
        return event.kind if event else None

    assert ["oom", "restart", None] == [await last("llama", "vllm-0"), await last("llama", None), await last("llama", None, 20)]


async def test_traffic_is_what_the_engines_counted_and_whether_rows_tell_of_it(on: Scene) -> None:
    async def traffic(minutes: float) -> Traffic:
        async with on.database.transaction() as connection:
            return await read_traffic(connection, ObservedBy.GATEWAY, on.now + timedelta(minutes=minutes))

    assert Traffic(0.0, False, False) == await traffic(0)
    await on.serve()
    # Engine 0 finished 12 requests more; engine 1 was restarted and finished 4 since.
    for engine, ago, stop, length in (("0", 120, 100, 50), ("0", 60, 110, 52), ("1", 120, 900, 0), ("1", 60, 4, 0)):
        await on.execute(
            "INSERT INTO snapshots (scraped_at, scrape_seconds, tenant_id, cluster_id, environment_id, model_id, replica_id, "
            "layout_id, engine, requests_finished_stop, requests_finished_length) "
            "VALUES (%s, 0.1, 0, 1, 1, 1, 1, 1, %s, %s, %s)",
            (on.now - timedelta(seconds=ago), engine, stop, length),
        )

    assert Traffic(16.0, True, True) == await traffic(0)
    assert Traffic(0.0, False, True) == await traffic(10)


async def test_deaths_changes_and_failures_of_memory_are_read_with_no_more_rights_than_an_alerter_has(on: Scene) -> None:
    store = FleetStore(on.database, on.dictionary)
    minutes = {ago: on.now - timedelta(minutes=ago) for ago in (0, 10, 61, 200)}
    deaths = [
        Event(at=minutes[10], kind=EventKind.OOM, replica="vllm-0", model="llama", detail={"cause": "oom"}),
        Event(at=minutes[0], kind=EventKind.RESTART, replica="vllm-1"),
    ]
    others = [
        Event(at=minutes[61], kind=EventKind.DEATH, replica="vllm-0"),
        Event(at=minutes[0], kind=EventKind.ENGINE_DOWN, replica="vllm-0"),
    ]
    await store.write_events([*reversed(deaths), *others])
    changes = [
        Change(at=minutes[61], kind=ChangeKind.DEPLOY, source="ci"),
        Change(at=minutes[0], kind=ChangeKind.CONFIG, source="ops", replica="vllm-0", model="llama", detail={"why": "load"}),
    ]
    for change in (Change(at=minutes[200], kind=ChangeKind.DEPLOY, source="ci"), *changes):
        await store.write_change(change)
    await on.serve(Outcome.OOM, 3, replica="vllm-0")
    await on.serve(Outcome.OOM, 2)
    await on.serve(Outcome.SERVER_ERROR, 2)
    await roll(on.database, on.now)

    conninfo = login(on.database.conninfo, Role.ALERTER)
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        fleet = await read_fleet(connection, Traffic(0.0, True, True), on.now)

    assert deaths == fleet.events
    assert changes == fleet.changes
    assert {OomRequests("llama", None, 2, on.now, on.now), OomRequests("llama", "vllm-0", 3, on.now, on.now)} == set(
        fleet.oom_requests
    )
