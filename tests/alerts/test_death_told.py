"""Deaths and restarts, from rows as the collector writes them to what a sink is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from collector.death import read_lines
from collector.event import Change, ChangeKind, Event, EventKind
from collector.log_ingest import LogIngest
from collector.otlp.log import DecodedLogs, Source
from collector.request import Outcome
from collector.rollup import roll
from collector.sample import Health
from collector.store.fleet import FleetStore
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, config_of, scene

LOGS = Path(__file__).parent.parent / "data" / "vllm"
IDS = ",".join(f"cmpl-{n}" for n in range(7))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def on(database: str, receiver: Receiver) -> AsyncIterator[Scene]:
    async with scene(database, config_of(receiver.url)) as one:
        yield one


async def happen(on: Scene, kind: EventKind, **detail: str) -> None:
    """Something happens to vllm-0 now."""
    event = Event(at=on.now, kind=kind, replica="vllm-0", model="llama", detail=detail)
    await FleetStore(on.database, on.dictionary).write_events([event])


async def deliver_all(on: Scene) -> None:
    """Of each alert the oldest notification is delivered first, and then the next."""
    while await on.deliver():
        pass


async def test_a_death_of_memory_is_one_page_from_ticket_to_recovery(on: Scene, receiver: Receiver) -> None:
    await on.serve(seconds=60)
    await on.replica("vllm-0", Health.READY)
    await on.replica("vllm-1", Health.READY)
    await on.begin()
    await happen(on, EventKind.OOM, cause="oom", pattern="20", requests="")
    died_at = on.now
    await on.pass_time(12)
    await happen(on, EventKind.DEATH, cause="oom", pattern="20", requests=IDS)
    await on.replica("vllm-0", Health.FAILING, since=0, ready_ago=5)
    await on.pass_time(1)
    await on.pass_time(10, Outcome.UNAVAILABLE)
    await deliver_all(on)

    told = [alert for alert in receiver.alerts if alert["labels"]["alertname"] != "SLOBurn"]
    assert [("EngineOOM", "firing", severity) for severity in ("ticket", "ticket", "page")] == [
        (alert["labels"]["alertname"], alert["status"], alert["labels"]["severity"]) for alert in told
    ]
    assert 1 == len({(alert["fingerprint"], alert["startsAt"]) for alert in told})
    summary, description = told[-1]["annotations"]["summary"], told[-1]["annotations"]["description"]
    # Users are hurt after 5 failures, which is the first second.
    expected = (
        f"llama on vllm-0: out of memory (CUDA) since {died_at:%H:%M:%S} UTC, 1/2 ready, 5 of 370 requests failed in 5 min"
    )
    assert expected == summary
    assert "Requests that were being computed: 7 (cmpl-0, cmpl-1, cmpl-2, cmpl-3, cmpl-4 and 2 more)." in description
    assert "Last event: death of vllm-0" in description

    await on.replica("vllm-0", Health.READY, since=0)
    await happen(on, EventKind.RESTART, started_at=on.now.isoformat())
    await on.pass_time(11, None)
    on.now += timedelta(seconds=120)
    for name in ("vllm-0", "vllm-1"):
        await on.replica(name, Health.READY)
    await on.pass_time(1, None)
    await deliver_all(on)
    assert [("EngineOOM", "resolved")] == [one for one in receiver.told if one[1] == "resolved" and one[0] != "SLOBurn"]
    assert {"EngineOOM"} == {name for name, _ in receiver.told if name != "SLOBurn"}


async def test_a_real_crash_log_pages_with_what_it_says(on: Scene, receiver: Receiver) -> None:
    await on.replica("vllm-0", Health.READY, checked_ago=2)
    await on.begin()
    marks = read_lines((LOGS / "oom.log").read_text(), on.now)
    store = FleetStore(on.database, on.dictionary)
    await LogIngest(store)(DecodedLogs({Source("vllm-0", "llama"): marks}, 1, 0, []))
    await on.pass_time(1, None)
    await deliver_all(on)

    (alert,) = receiver.alerts
    assert ("EngineOOM", "page", "vllm-0", "llama") == tuple(
        alert["labels"][name] for name in ("alertname", "severity", "replica", "model")
    )
    assert (
        f"llama on vllm-0: out of memory (CUDA) since {marks[0].at:%H:%M:%S} UTC, 0/1 ready" == alert["annotations"]["summary"]
    )
    assert "Requests that were being computed: " in alert["annotations"]["description"]


async def test_a_page_that_came_before_its_cause_is_told_again_with_it(on: Scene, receiver: Receiver) -> None:
    await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
    await on.begin()
    await on.pass_time(1, None)
    await happen(on, EventKind.DEATH, cause="oom", pattern="20", requests="")
    await on.pass_time(30, None)
    await deliver_all(on)

    first, second = receiver.alerts
    assert ("EngineDead", "page", "firing") == (first["labels"]["alertname"], first["labels"]["severity"], first["status"])
    assert [first[name] for name in ("labels", "status", "startsAt", "fingerprint")] == [
        second[name] for name in ("labels", "status", "startsAt", "fingerprint")
    ]
    assert "llama on vllm-0: engine dead since " in first["annotations"]["summary"]
    assert "llama on vllm-0: out of memory (CUDA) since " in second["annotations"]["summary"]
    assert [("inactive", "firing"), ("firing", "firing")] == [(before, after) for _, before, after in await on.flips()]


async def test_requests_that_failed_with_memory_texts_alone_page(on: Scene, receiver: Receiver) -> None:
    await on.serve(seconds=60)
    await on.replica("vllm-0", Health.READY)
    await on.begin()
    await on.pass_time(2, Outcome.OOM, replica="vllm-0")
    await roll(on.database, on.now)
    await on.pass_time(1)
    await deliver_all(on)

    (alert,) = [alert for alert in receiver.alerts if alert["labels"]["alertname"] == "EngineOOM"]
    assert ("page", "vllm-0") == (alert["labels"]["severity"], alert["labels"]["replica"])
    assert "llama on vllm-0: out of memory since " in alert["annotations"]["summary"]
    assert "10 requests failed with an out-of-memory error." in alert["annotations"]["description"]


@pytest.mark.parametrize(("told", "names"), [(True, set()), (False, {("UnexpectedRestart", "ticket")})])
async def test_fifty_restarts_are_no_page_and_nothing_at_all_where_a_pipeline_told(
    on: Scene, receiver: Receiver, told: bool, names: set[tuple[str, str]]
) -> None:
    fleet = FleetStore(on.database, on.dictionary)
    await on.replica("vllm-0", Health.READY)
    await on.begin()
    for _ in range(50):
        on.now += timedelta(minutes=6)
        if told:
            change = Change(at=on.now, kind=ChangeKind.RESTART, source="ops", replica="vllm-0")
            assert (await fleet.write_change(change)).new
        on.now += timedelta(seconds=30)
        await happen(on, EventKind.RESTART, started_at=(on.now - timedelta(seconds=20)).isoformat())
        for seconds in (1, 130):
            on.now += timedelta(seconds=seconds)
            await on.replica("vllm-0", Health.READY)
            await on.pass_time(1, None)
    await deliver_all(on)

    assert names == {(alert["labels"]["alertname"], alert["labels"]["severity"]) for alert in receiver.alerts}


async def test_a_configuration_that_changed_explains_a_restart(on: Scene, receiver: Receiver) -> None:
    await on.replica("vllm-0", Health.READY)
    await on.begin()
    await happen(on, EventKind.RESTART, started_at=on.now.isoformat())
    change = Change(
        at=on.now, kind=ChangeKind.CONFIG, source="found", replica="vllm-0", model="llama", detail={"block_size": "16 → 32"}
    )
    await FleetStore(on.database, on.dictionary).write_change(change)
    await on.pass_time(1, None)
    on.now += timedelta(minutes=4)
    await on.replica("vllm-0", Health.READY)
    await on.pass_time(1, None)

    assert [] == await on.flips()
