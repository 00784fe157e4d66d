from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from alerts.store import story
from alerts.store.leader import Leadership
from alerts.store.story import Subject, read_story
from alerts.story import Hurt, Pressure, Share, Story, Volume
from collector import schema
from collector.objective import Objective, Sli
from collector.request import ObservedBy, Outcome
from collector.rollup import roll
from collector.sample import Health
from tests.alerts.scene import Scene, config_of, scene

AVAILABILITY = Objective(Sli.AVAILABILITY)


@pytest.fixture
async def on(database: str) -> AsyncIterator[Scene]:
    async with scene(database, config_of()) as one:
        yield one


async def read(on: Scene, objective: Objective = AVAILABILITY, since: float = 60, **labels: str) -> Story | None:
    """The story of an alert that began so many seconds ago, by a leader's own connection."""
    leadership = Leadership(on.database.conninfo, application="test")
    connection = await leadership.acquire()
    assert connection is not None
    try:
        async with connection.transaction():
            return await read_story(connection, Subject(objective, labels, on.now - timedelta(seconds=since)), on.now)
    finally:
        await leadership.release()


async def told(on: Scene, objective: Objective = AVAILABILITY, since: float = 60, **labels: str) -> Story:
    found = await read(on, objective, since, **labels)
    assert found is not None
    return found


async def test_failures_are_counted_by_tenant_and_outcome(on: Scene) -> None:
    await on.serve(Outcome.TIMEOUT, 3, tenant="acme")
    await on.serve(Outcome.OOM, 1, tenant="acme")
    await on.serve(Outcome.TIMEOUT, 2, tenant="beta")
    await on.serve(Outcome.VALIDATION, 9, tenant="beta")
    await on.serve(Outcome.OK, 4, tenant="gamma")
    await on.serve(Outcome.TIMEOUT, 4, tenant="acme", requested_model="mistral")
    acme, beta = (on.dictionary.id(schema.tenants, name) for name in ("acme", "beta"))

    llama = await told(on, model="llama")
    assert (10, 6, 2, False) == (llama.requests, llama.failed, llama.tenants_hurt, llama.capped)
    assert {Outcome.TIMEOUT: 5, Outcome.OOM: 1} == llama.outcomes
    assert [Hurt("acme", acme, 4), Hurt("beta", beta, 2)] == llama.tenants
    assert 10 == (await told(on)).failed
    on.now += timedelta(minutes=5)
    assert 0 == (await told(on)).failed


async def test_the_story_is_that_of_the_alert_s_own_requests(on: Scene) -> None:
    await on.serve(Outcome.TIMEOUT, 3, tenant="acme", replica="vllm-0")
    await on.serve(Outcome.TIMEOUT, 2, tenant="beta", replica="vllm-1")
    await on.serve(Outcome.TIMEOUT, 1, tenant="beta", replica="vllm-1", environment="staging")
    chosen = Objective(Sli.AVAILABILITY, environments=("production",))

    assert [3, 3, 2, 1] == [
        (await told(on, objective, 60, **labels)).failed
        for objective, labels in (
            (AVAILABILITY, {"tenant": "acme"}),
            (AVAILABILITY, {"replica": "vllm-1"}),
            (Objective(Sli.AVAILABILITY, environments=("unknown",)), {"tenant": "beta"}),
            (Objective(Sli.AVAILABILITY, environments=("staging",)), {}),
        )
    ]
    assert 0 == (await told(on, chosen)).failed


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

    found = await told(on, objective)
    assert (10, hurt) == (found.requests, found.failed)


async def test_a_timeout_without_a_token_is_a_late_one_where_it_waited_for_longer(on: Scene) -> None:
    await on.serve(Outcome.TIMEOUT, 2, latency_seconds=30.0)
    await on.serve(Outcome.TIMEOUT, 5, latency_seconds=1.0)

    assert (2, 2) == ((found := await told(on, Objective(Sli.TTFT, 2.0))).requests, found.failed)


async def test_shares_name_replica_and_prompt_length_and_traces_differ_in_tenant(on: Scene) -> None:
    await on.serve(Outcome.OK, 5, replica="vllm-0", input_tokens=100, tenant="acme")
    await on.serve(Outcome.OOM, 3, replica="vllm-1", input_tokens=40_000, tenant="acme")
    await on.serve(Outcome.OOM, 1, replica="vllm-1", input_tokens=600, tenant="beta")

    found = await told(on, model="llama")

    assert {
        Share("model", "llama", 9, 4),
        Share("tenant", "acme", 8, 3),
        Share("tenant", "beta", 1, 1),
        Share("replica", "vllm-1", 4, 4),
        Share("prompts", "of 32,768 tokens or more", 3, 3),
        Share("prompts", "of 512 to 2,047 tokens", 1, 1),
    } == set(found.shares)
    assert 3 == len(found.traces)
    # The ninth request was beta's.
    assert (9).to_bytes(16, "big").hex() in found.traces[:2]


async def test_the_time_that_is_told_of_is_five_minutes_to_an_hour(on: Scene) -> None:
    assert [5, 20, 60] == [
        (found.until - found.since).total_seconds() / 60 for found in [await told(on, since=since) for since in (0, 1200, 9999)]
    ]


async def test_only_so_many_requests_are_looked_at(on: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "ROWS", 5)
    await on.serve(Outcome.OOM, 9)

    found = await told(on)
    assert (5, True) == (found.failed, found.capped)


async def test_pressure_is_what_scrapes_say_and_a_counter_that_was_reset_counts_from_zero(on: Scene) -> None:
    await on.replica("vllm-0", Health.READY)
    for ago, usage, waiting, preemptions in ((90, 0.5, 0, 10), (30, 0.99, 7, 14), (0, 0.4, 2, None)):
        await on.execute(
            "INSERT INTO snapshots (scraped_at, scrape_seconds, tenant_id, cluster_id, environment_id, model_id, replica_id, "
            "engine, kv_cache_usage_ratio, requests_waiting, preemptions) "
            "SELECT %s, 0.1, 0, cluster_id, environment_id, model_id, replica_id, '0', %s, %s, %s FROM replica_states",
            (on.now - timedelta(seconds=ago), usage, waiting, preemptions),
        )

    assert [Pressure("vllm-0", 0.99, 7.0, 4.0)] == (await told(on, model="llama")).pressures
    assert [] == (await told(on, model="mistral")).pressures


async def test_the_time_of_the_alert_is_compared_with_the_hour_before(on: Scene) -> None:
    end = on.now
    for minutes in range(30, 5, -1):
        on.now = end - timedelta(minutes=minutes)
        await on.serve(requests=1, tenant="acme", input_tokens=100, cached_tokens=80)
    on.now = end - timedelta(minutes=3)
    await on.serve(Outcome.OOM, 20, tenant="acme", input_tokens=100, cached_tokens=0)
    await on.serve(requests=5, tenant="beta")
    on.now = end
    for _ in range(4):
        await roll(on.database, on.now)

    comparison = (await told(on, model="llama")).comparison

    assert comparison is not None
    assert ("acme", Volume(1, 25, 0, 2000)) == (comparison.tenant, comparison.now)
    assert Volume(25, 25, 2000, 2500) == comparison.before == comparison.tenant_before
    assert Volume(1, 20, 0, 2000) == comparison.tenant_now


async def test_what_cannot_be_read_in_time_is_left_out_and_the_transaction_goes_on(
    on: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await on.serve(Outcome.OOM, 1)
    async with on.database.transaction() as blocker:
        await blocker.execute("LOCK TABLE requests IN ACCESS EXCLUSIVE MODE")
        assert await read(on) is None
    assert 1 == (await told(on)).failed


async def test_engines_rows_are_read_where_the_objective_is_about_them(on: Scene) -> None:
    await on.serve(Outcome.OOM, 1)

    assert 0 == (await told(on, Objective(Sli.AVAILABILITY, observed_by=ObservedBy.ENGINE))).failed
