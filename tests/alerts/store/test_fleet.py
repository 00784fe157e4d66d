from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from alerts.page import Failure
from alerts.store.fleet import Traffic, read_failures, read_last_event, read_traffic
from collector import schema
from collector.objective import Objective, Sli
from collector.request import ObservedBy, Outcome
from collector.sample import Health
from tests.alerts.scene import Scene, config_of, scene

AVAILABILITY = Objective(Sli.AVAILABILITY)


@pytest.fixture
async def on(database: str) -> AsyncIterator[Scene]:
    async with scene(database, config_of()) as one:
        yield one


async def failures(on: Scene, objective: Objective, model: str | None = "llama") -> list[Failure]:
    async with on.database.transaction() as connection:
        return await read_failures(connection, objective, model, on.now)


async def test_failures_are_counted_by_tenant_and_outcome(on: Scene) -> None:
    await on.serve(Outcome.TIMEOUT, 3, tenant="acme")
    await on.serve(Outcome.OOM, 1, tenant="acme")
    await on.serve(Outcome.TIMEOUT, 2, tenant="beta")
    await on.serve(Outcome.VALIDATION, 9, tenant="beta")
    await on.serve(Outcome.TIMEOUT, 4, tenant="acme", requested_model="mistral")
    llama = [Failure("acme", Outcome.TIMEOUT, 3), Failure("beta", Outcome.TIMEOUT, 2), Failure("acme", Outcome.OOM, 1)]

    assert llama == await failures(on, AVAILABILITY)
    assert [Failure("acme", Outcome.TIMEOUT, 7), *llama[1:]] == await failures(on, AVAILABILITY, None)
    on.now += timedelta(minutes=5)
    assert [] == await failures(on, AVAILABILITY)


@pytest.mark.parametrize(
    ("objective", "hurt"),
    [
        (Objective(Sli.TTFT, 2.0), 3),
        (Objective(Sli.LATENCY, 5.0), 3),
        (Objective(Sli.TPOT, 0.1), 3),
        (Objective(Sli.TTFT, 4.0), 0),
    ],
)
async def test_slow_requests_are_counted_by_what_the_objective_measures(on: Scene, objective: Objective, hurt: int) -> None:
    await on.serve(requests=7, tenant="acme", output_tokens=11)
    await on.serve(requests=3, tenant="acme", ttft_seconds=4.0, latency_seconds=6.0, output_tokens=11)

    assert hurt == sum(failure.requests for failure in await failures(on, objective))


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
