from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from collector.engines import Reader
from collector.event import Change, ChangeKind, Event, EventKind
from collector.metrics import GPU_MEMORY_USED
from collector.replica import ReplicaState, see_health
from collector.sample import Health, Snapshot
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from tests.collector.example import now, rows

PAGE = (Path(__file__).parent.parent.parent / "data" / "vllm" / "metrics_load.txt").read_text()


def state(**fields: Any) -> ReplicaState:
    known: dict[str, Any] = {
        "replica": "vllm-0",
        "url": "http://vllm:8000",
        "environment": "production",
        "cluster": "default",
        "model": "tiny",
        "health_since": datetime(2026, 11, 24, 12, tzinfo=UTC),
        "checked_at": datetime(2026, 11, 24, 12, tzinfo=UTC),
    }
    return ReplicaState(**(known | fields))


def store_on(database: Database) -> FleetStore:
    return FleetStore(database, Dictionary(database))


def snapshots_of(text: str, at: datetime) -> list[Snapshot]:
    plan, page = Reader().parse(text)
    assert plan is not None
    return plan.snapshots(page.values, scraped_at=at, replica="vllm-0", model=None, scrape_seconds=0.02)


async def test_snapshot_holds_values_and_histograms_with_their_edges(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    snapshots = snapshots_of(PAGE, at)
    await store_on(connected).write(state(), (), snapshots)
    cursor = await look.execute(
        "SELECT scraped_at, engine, models.name, requests_running, prefix_cache_hits, ttft_seconds_buckets, edges"
        " FROM snapshots JOIN models ON models.id = model_id JOIN layouts ON layouts.id = layout_id"
    )
    ((scraped_at, engine, model, running, hits, buckets, edges),) = await cursor.fetchall()
    assert (at, "0", "tiny", 23.0, 37120.0) == (scraped_at, engine, model, running, hits)
    assert len(json.loads(edges)["ttft_seconds"]) + 1 == len(buckets)


async def test_gauges_alone_have_no_layout(connected: Database, look: AsyncConnection[Any]) -> None:
    (snapshot,) = snapshots_of(PAGE, now())
    await store_on(connected).write(state(), (), [replace(snapshot, histograms={})])
    assert [(None, None)] == await rows(look, "snapshots", "layout_id, ttft_seconds_buckets")


async def test_events_are_kept_with_names(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    event = Event(at=at, kind=EventKind.ENGINE_DOWN, replica="vllm-0", model="tiny", detail={"health": "unreachable"})
    await store_on(connected).write(state(), [event], ())
    assert [(at, "engine_down", {"health": "unreachable"})] == await rows(look, "events", "at, kind, detail")


async def test_state_is_one_row_that_moves(connected: Database, look: AsyncConnection[Any]) -> None:
    store = store_on(connected)
    for second in range(3):
        seen = see_health(state(), Health.READY, 200, datetime(2026, 11, 24, 12, 0, second, tzinfo=UTC))
        await store.write(seen.state, seen.events, ())
    assert [(1, 200, datetime(2026, 11, 24, 12, 0, 2, tzinfo=UTC))] == await rows(
        look, "replica_states", "health, health_status, checked_at"
    )


async def test_new_collector_keeps_what_an_earlier_one_knew(connected: Database, look: AsyncConnection[Any]) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    known = state(health=Health.UNREACHABLE, health_since=at, ready_at=at, scraped_at=at, process_started_at=at)
    await store_on(connected).write(known, (), ())
    later = at + timedelta(minutes=5)
    await store_on(connected).write(state(model=None, health=Health.UNREACHABLE, health_since=later, checked_at=later), (), ())
    assert [(at, later, at, at, at)] == await rows(
        look, "replica_states", "health_since, checked_at, ready_at, scraped_at, process_started_at"
    )
    cursor = await look.execute("SELECT name FROM models JOIN replica_states ON models.id = model_id")
    assert [("tiny",)] == await cursor.fetchall()


async def test_scrape_before_the_first_check_says_nothing_about_health(connected: Database, look: AsyncConnection[Any]) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    known = state(health=Health.FAILING, health_status=503, health_since=at, checked_at=at)
    await store_on(connected).write(known, (), ())
    later = at + timedelta(minutes=5)
    await store_on(connected).write(state(health_since=later, checked_at=later, scraped_at=later), (), ())
    assert [(2, 503, at, at, later)] == await rows(
        look, "replica_states", "health, health_status, health_since, checked_at, scraped_at"
    )


@pytest.mark.parametrize(
    ("kind", "expected"), [(EventKind.RESTART, 1), (EventKind.COUNTER_RESET, 1), (EventKind.ENGINE_DOWN, 0)]
)
async def test_restart_that_was_found_is_a_change(
    connected: Database, look: AsyncConnection[Any], kind: EventKind, expected: int
) -> None:
    at = now()
    await store_on(connected).write(state(), [Event(at=at, kind=kind, replica="vllm-0", model="tiny")], ())
    assert [(at, "restart", "found")] * expected == await rows(look, "changes", "at, kind, source")


async def test_change_may_be_of_all_replicas(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    change = Change(at=at, kind=ChangeKind.DEPLOY, source="pipeline", model="tiny", detail={"version": "0.32.0"})
    await store_on(connected).write_change(change)
    cursor = await look.execute(
        "SELECT at, kind, source, replica_id, models.name, detail FROM changes JOIN models ON models.id = model_id"
    )
    assert [(at, "deploy", "pipeline", 0, "tiny", {"version": "0.32.0"})] == await cursor.fetchall()


async def test_row_of_each_engine_and_model_is_kept(connected: Database, look: AsyncConnection[Any]) -> None:
    text = "\n".join(
        f'vllm:num_requests_running{{engine="{engine}",model_name="{model}"}} {running}'
        for engine, model, running in [("0", "a", 1), ("0", "b", 2), ("1", "a", 3)]
    )
    snapshots = snapshots_of(text, now())
    store = store_on(connected)
    await store.write(state(), (), snapshots)
    await store.write(state(), (), snapshots)
    cursor = await look.execute(
        "SELECT engine, name, requests_running FROM snapshots JOIN models ON models.id = model_id ORDER BY 1, 2"
    )
    assert [("0", "a", 1.0), ("0", "b", 2.0), ("1", "a", 3.0)] == await cursor.fetchall()


async def test_heartbeat_moves(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    store = store_on(connected)
    await store.write_heartbeat("host:1", "0.1.0", at, at, None)
    await store.write_heartbeat("host:1", "0.1.0", at, at + timedelta(seconds=5), at)
    assert [("host:1", at, at + timedelta(seconds=5), at)] == await rows(
        look, "collectors", "name, started_at, seen_at, span_at"
    )


async def test_what_an_exporter_tells_of_replicas_makes_it_none(connected: Database, look: AsyncConnection[Any]) -> None:
    snapshot = Snapshot(
        scraped_at=now(), replica="vllm-0", engine="gpu0", model="unknown", values={GPU_MEMORY_USED: 5.0}, histograms={}
    )
    xid = Event(at=now(), kind=EventKind.GPU_XID, replica="vllm-1", detail={"xid": "79"})
    exporter = replace(state(), replica="exporter")
    await store_on(connected).write_observed(exporter, (xid,), [snapshot])
    assert [] == await rows(look, "replica_states", "*")
    assert [("gpu0", 5.0)] == await rows(look, "snapshots", "engine, gpu_memory_used_bytes")
    cursor = await look.execute("SELECT name FROM replicas JOIN snapshots ON replica_id = id")
    assert [("vllm-0",)] == await cursor.fetchall()
    cursor = await look.execute("SELECT name, kind FROM replicas JOIN events ON replica_id = replicas.id")
    assert [("vllm-1", "gpu_xid")] == await cursor.fetchall()


async def test_role_of_an_engine_is_kept(connected: Database, look: AsyncConnection[Any]) -> None:
    snapshots = snapshots_of('sglang:num_running_reqs{engine_type="prefill",model_name="m"} 1', now())
    await store_on(connected).write(state(), (), snapshots)
    assert [("prefill", 1.0)] == await rows(look, "snapshots", "role, requests_running")
