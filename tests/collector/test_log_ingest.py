from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY
from psycopg import AsyncConnection

from collector.errors import StoreUnavailable
from collector.log_ingest import MOST_REPLICAS, LogIngest
from collector.otlp.log import DecodedLogs, LogKeys
from collector.otlp.log_protobuf import decode_logs_protobuf
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from tests.collector.example import now
from tests.collector.log_body import log_body
from tests.collector.test_daemon import configuration, running

KEYS = LogKeys(("llm_slo.replica",), ("llm_slo.model",))
OOM_LOG = (Path(__file__).parent.parent / "data" / "vllm" / "oom.log").read_text().splitlines()
OOM, FATAL = "torch.OutOfMemoryError: CUDA out of memory.", "EngineCore encountered a fatal error."
PLANTED = "pl4nted words of a prompt"


def decoded(lines: list[str], at: datetime, **resource: str) -> DecodedLogs:
    named = {f"llm_slo.{key}": value for key, value in resource.items()}
    return decode_logs_protobuf(log_body(lines, at, named or None), KEYS, now())


@pytest.fixture
async def store(database: str) -> AsyncIterator[FleetStore]:
    async with Database(database, application="test") as opened:
        yield FleetStore(opened, Dictionary(opened))


async def events(connection: AsyncConnection[Any]) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(
        "SELECT kind, replicas.name, models.name, detail->>'cause' FROM events JOIN replicas ON replicas.id = replica_id"
        " LEFT JOIN models ON models.id = model_id AND models.id <> 0 ORDER BY events.id"
    )
    return await cursor.fetchall()


def counted() -> dict[str, float]:
    names = ("received", "facts", "ignored", "rejected", "refused")
    families = {family.name: family for family in REGISTRY.collect()}
    return {
        name: sum(s.value for s in families[f"llm_slo_log_records_{name}"].samples if s.name.endswith("_total"))
        for name in names
    }


def change(before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in counted().items() if value != before[name]}


async def test_crash_log_that_is_posted_is_one_event_with_cause_and_requests(database: str, connection: Any) -> None:
    config, before, at = configuration(), counted(), now() - timedelta(seconds=1)
    body = log_body([*OOM_LOG, f"ERROR {PLANTED}", f"ERROR CUDA out of memory {PLANTED}"], at)
    async with running(config, database), aiohttp.ClientSession() as session:
        for _ in range(2):
            url, headers = f"http://{config.listen.otlp_http}/v1/logs", {"Content-Type": "application/x-protobuf"}
            async with session.post(url, data=body, headers=headers) as response:
                assert 200 == response.status
    cursor = await connection.execute(
        "SELECT at, kind, replicas.name, models.name, detail FROM events JOIN replicas ON replicas.id = replica_id"
        " JOIN models ON models.id = model_id"
    )
    ((found_at, kind, replica, model, detail),) = await cursor.fetchall()
    assert (at, "death", "vllm-0", "tiny", "oom", "20") == (found_at, kind, replica, model, detail["cause"], detail["pattern"])
    assert 4 == len(detail["requests"].split(","))
    assert "pl4nted" not in repr(detail)
    assert 2.0 * (len(OOM_LOG) + 2) == change(before)["received"]


async def test_record_counts_as_what_became_of_it(store: FleetStore) -> None:
    before = counted()
    await LogIngest(store)(decoded([FATAL, "nothing", "nothing"], now()))
    assert {"received": 3.0, "facts": 1.0, "ignored": 2.0} == change(before)


async def test_replica_and_model_that_nobody_names_are_unknown(store: FleetStore, connection: Any) -> None:
    await LogIngest(store)(decode_logs_protobuf(log_body([FATAL], now(), {}), KEYS, now()))
    (event,) = await events(connection)
    assert ("death", "unknown", "unknown") == (event[0], event[1], event[3])


async def test_fault_and_death_in_two_bodies_are_two_events_and_each_is_told_once(store: FleetStore, connection: Any) -> None:
    ingest, at = LogIngest(store), now()
    for lines in ([OOM], [OOM, FATAL], [FATAL]):
        await ingest(decoded(lines, at))
    assert [("oom", "vllm-0", "tiny", "oom"), ("death", "vllm-0", "tiny", "oom")] == await events(connection)


async def test_replicas_are_told_apart(store: FleetStore, connection: Any) -> None:
    ingest, at = LogIngest(store), now()
    await ingest(decoded([OOM], at, replica="a", model="tiny"))
    await ingest(decoded([FATAL], at, replica="b", model="tiny"))
    assert [("oom", "a", "oom"), ("death", "b", "unknown")] == [
        (kind, replica, cause) for kind, replica, _, cause in await events(connection)
    ]


async def test_what_was_not_committed_is_told_when_it_comes_again(connection: Any, store: FleetStore) -> None:
    class Away(FleetStore):
        def __init__(self) -> None:
            self.away = True

        async def write_events(self, events: Any) -> None:
            if self.away:
                raise StoreUnavailable("Postgres is away", 5)
            await store.write_events(events)

    away, before = Away(), counted()
    ingest, body = LogIngest(away), decoded([OOM, FATAL], now())
    with pytest.raises(StoreUnavailable):
        await ingest(body)
    assert {"refused": 2.0} == change(before)
    away.away = False
    await ingest(body)
    assert ["death"] == [kind for kind, *_ in await events(connection)]


async def test_memory_of_replicas_is_bounded(store: FleetStore) -> None:
    ingest = LogIngest(store)
    for number in range(MOST_REPLICAS + 10):
        # A hint is remembered, and is no event.
        await ingest(decoded(["MemoryError"], now(), replica=f"replica-{number}"))
    assert MOST_REPLICAS == len(ingest._crashes)
