from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from alerts.alert import State
from collector.request import Outcome
from collector.sample import Health
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, config_of, scene, terminate


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def on(database: str, receiver: Receiver) -> AsyncIterator[Scene]:
    async with scene(database, config_of(receiver.url, board_url="https://grafana.example.com")) as one:
        yield one


async def test_a_minute_of_total_outage_pages_and_its_end_resolves(on: Scene, receiver: Receiver) -> None:
    await on.serve(seconds=600)
    await on.begin()
    await on.pass_time(60, Outcome.SERVER_ERROR)
    await on.deliver()

    assert [("SLOBurn", "firing")] == receiver.told
    alert = receiver.alerts[0]
    assert {
        "alertname": "SLOBurn",
        "slo": "availability",
        "sli": "availability",
        "severity": "page",
        "model": "llama",
        "environment": "production",
        "cluster": "default",
    } == alert["labels"]
    outage_began = on.now - timedelta(seconds=59)
    assert f"since {outage_began:%H:%M:%S} UTC" in alert["annotations"]["summary"]
    # 11 s into the outage: as if the 600 s were all of an hour, 54 failures are 0.5 % of 30 days' budget, and 10 s apart.
    assert "llama: availability 99.5 %, 55 of 1500 failed in 5 min, burn 4 (1h)" in alert["annotations"]["summary"]
    description = alert["annotations"]["description"]
    assert "Requests hurt in the last 5 min: 55 (server error 55)." in description
    assert "Tenants hurt: tenant-1 28, tenant-0 27." in description
    assert "https://grafana.example.com/d/llm-slo-on-call?from=" in alert["generatorURL"]
    assert {"burn_5m", "burn_1h", "budget_spent", "board_url"} <= alert["annotations"].keys()

    await on.pass_time(133)
    assert 0 == await on.deliver()
    await on.pass_time(1)
    await on.deliver()

    assert [("SLOBurn", "firing"), ("SLOBurn", "resolved")] == receiver.told
    assert receiver.alerts[0]["startsAt"] == receiver.alerts[1]["startsAt"]
    assert receiver.alerts[0]["fingerprint"] == receiver.alerts[1]["fingerprint"]
    assert [
        ("SLOBurn", "inactive", "firing"),
        ("SLOBurn", "firing", "resolving"),
        ("SLOBurn", "resolving", "resolved"),
    ] == await on.flips()


@pytest.mark.parametrize("outcome", [Outcome.VALIDATION, Outcome.AUTH, Outcome.RATE_LIMIT, Outcome.CANCELLED])
async def test_failures_of_the_callers_making_page_nobody(on: Scene, receiver: Receiver, outcome: Outcome) -> None:
    await on.serve(seconds=600)
    await on.begin()
    await on.pass_time(60, outcome, 20)

    assert 0 == await on.deliver()
    assert [] == await on.flips()


async def test_slow_first_tokens_page_by_the_ttft_slo_alone(on: Scene, receiver: Receiver) -> None:
    await on.serve(seconds=60)
    await on.begin()
    await on.pass_time(30, ttft_seconds=5.0, latency_seconds=6.0)
    await on.deliver()

    assert [("ttft", "firing")] == [(alert["labels"]["slo"], alert["status"]) for alert in receiver.alerts]
    assert "too slow in 5 min" in receiver.alerts[0]["annotations"]["summary"]
    assert "Requests hurt in the last 5 min:" in receiver.alerts[0]["annotations"]["description"]


async def test_a_dead_engine_pages_when_too_few_replicas_are_ready(on: Scene, receiver: Receiver) -> None:
    await on.collector_lives()
    await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
    await on.execute(
        "INSERT INTO events (at, kind, replica_id, model_id, detail) "
        "SELECT %s, 'death', replica_id, model_id, '{\"cause\": \"device_error\"}' FROM replica_states",
        (on.now - timedelta(seconds=11),),
    )
    await on.begin()
    await on.pass_time(1, None)
    await on.deliver()

    labels = receiver.alerts[0]["labels"]
    assert ("EngineDead", "page", "llama", "vllm-0") == tuple(
        labels[name] for name in ("alertname", "severity", "model", "replica")
    )
    assert "Last event: death of vllm-0" in receiver.alerts[0]["annotations"]["description"]
    assert "(cause device_error)" in receiver.alerts[0]["annotations"]["description"]
    assert "llama on vllm-0: engine dead (device error) since" in receiver.alerts[0]["annotations"]["summary"]

    await on.replica("vllm-0", Health.READY)
    await on.pass_time(11, None)
    await on.deliver()

    assert [("EngineDead", "firing"), ("EngineDead", "resolved")] == receiver.told


async def test_a_ticket_rises_to_a_page_once_users_are_hurt(on: Scene, receiver: Receiver) -> None:
    await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
    await on.replica("vllm-1", Health.READY)
    await on.begin()
    await on.pass_time(2)
    await on.deliver()
    await on.pass_time(2, Outcome.UNAVAILABLE)
    await on.deliver()
    engine = [alert for alert in receiver.alerts if alert["labels"]["alertname"] == "EngineDead"]

    assert [("firing", "ticket"), ("firing", "page")] == [(alert["status"], alert["labels"]["severity"]) for alert in engine]
    assert 1 == len({(alert["fingerprint"], alert["startsAt"]) for alert in engine})


async def test_without_a_collector_slo_alerts_stand_still_and_blindness_pages(on: Scene, receiver: Receiver) -> None:
    await on.serve(seconds=60)
    await on.begin()
    await on.pass_time(20, Outcome.TIMEOUT)
    evaluator = on.evaluator
    assert evaluator is not None
    for _ in range(3):
        on.now += timedelta(seconds=31)
        await evaluator.tick(on.now)
    await on.deliver()

    assert [("SLOBurn", "firing"), ("MonitoringBlind", "firing")] == receiver.told
    on.now += timedelta(hours=1)
    await evaluator.tick(on.now)
    assert {"SLOBurn": State.FIRING, "MonitoringBlind": State.FIRING} == {alert.name: alert.state for alert in evaluator.alerts}


async def test_requests_that_pass_prove_no_recovery_while_no_collector_lives(on: Scene) -> None:
    await on.serve(seconds=60)
    evaluator = await on.begin()
    await on.pass_time(20, Outcome.TIMEOUT)
    for _ in range(200):
        on.now += timedelta(seconds=1)
        await on.serve()
        await evaluator.tick(on.now)

    assert State.RESOLVING is next(alert.state for alert in evaluator.alerts if alert.name == "SLOBurn")


async def test_a_new_leader_goes_on_where_the_old_one_stopped(on: Scene, receiver: Receiver) -> None:
    await on.serve(seconds=600)
    await on.begin()
    await on.pass_time(60, Outcome.SERVER_ERROR)
    before = [alert for alert in (await on.begin()).alerts if alert.active]
    await on.leadership.release()
    evaluator = await on.begin()

    assert before == [alert for alert in evaluator.alerts if alert.active]
    await on.pass_time(5, Outcome.SERVER_ERROR)
    await on.deliver()
    await on.pass_time(134)
    await on.deliver()
    assert [("SLOBurn", "firing"), ("SLOBurn", "resolved")] == receiver.told


async def test_pulses_are_counted_once_whatever_the_order_in_which_they_become_visible(on: Scene) -> None:
    await on.serve(seconds=100)
    evaluator = await on.begin()
    # A transaction that took its requests 30 s ago and commits only now.
    taken_at = on.now
    on.now += timedelta(seconds=30)
    await on.serve()
    await on.collector_lives()
    await evaluator.tick(on.now)
    late, on.now = on.now, taken_at
    await on.serve(Outcome.SERVER_ERROR, 7)
    on.now = late
    for _ in range(20):
        on.now += timedelta(seconds=1)
        await evaluator.tick(on.now)

    series = next(series for series in evaluator.watch.series if series.slo.name == "availability")
    assert 7 / 512 / 0.005 == pytest.approx(evaluator.watch.burns(series)["burn_5m"])
    assert 7 / 512 / 0.005 == pytest.approx(evaluator.watch.spent(series))


async def test_minutes_that_pulses_no_longer_hold_count_in_the_long_window_and_in_the_budget(on: Scene) -> None:
    await on.serve(requests=10)
    (stream,) = await on.execute("SELECT id FROM streams WHERE objective_id = %s", (on.slos[0].objective.id,))
    minute = on.now.replace(second=0)
    for ago, good, bad in ((timedelta(hours=3), 985, 5), (timedelta(hours=7), 1000, 0), (timedelta(days=31), 0, 999)):
        await on.execute("INSERT INTO slo_minute VALUES (%s, %s, %s, %s)", (minute - ago, stream[0], good, bad))
    evaluator = await on.begin()
    await on.collector_lives()
    await evaluator.tick(on.now)

    series = next(series for series in evaluator.watch.series if series.slo.name == "availability")
    assert 1.0 == evaluator.watch.burns(series)["burn_6h"]
    assert 0.0 == evaluator.watch.burns(series)["burn_1h"]
    assert 0.5 == evaluator.watch.spent(series)


async def test_old_pulses_that_no_minute_holds_yet_count(on: Scene) -> None:
    on.now -= timedelta(hours=3)
    await on.serve(requests=995)
    await on.serve(Outcome.OOM, requests=5)
    on.now += timedelta(hours=3)
    evaluator = await on.begin()
    await on.collector_lives()
    await evaluator.tick(on.now)

    series = next(series for series in evaluator.watch.series if series.slo.name == "availability")
    assert [1.0, 0.0] == [evaluator.watch.burns(series)[name] for name in ("burn_6h", "burn_1h")]
    assert 1.0 == evaluator.watch.spent(series)


async def test_a_leader_that_lost_its_session_can_write_nothing(on: Scene, database: str) -> None:
    evaluator = await on.begin()
    await on.serve(Outcome.SERVER_ERROR, seconds=60)
    await on.collector_lives()
    await terminate(database, evaluator.connection.info.backend_pid)

    with pytest.raises(psycopg.OperationalError):
        await evaluator.tick(on.now)
    async with scene(database, on.config) as other:
        assert [] == await other.execute("SELECT * FROM flips")


async def test_a_slow_replica_is_told_by_name_and_the_slo_is_silent(on: Scene, receiver: Receiver) -> None:
    for number in range(8):
        await on.serve(requests=1, seconds=100, replica=f"vllm-{number}", ttft_seconds=0.2 + number / 1000)
    evaluator = await on.begin()
    for _ in range(9):
        on.now += timedelta(seconds=10)
        await on.serve(requests=1, seconds=10, replica="vllm-3", ttft_seconds=1.0)
        await on.serve(requests=1, seconds=10, replica="vllm-4", ttft_seconds=0.2)
        await on.serve(requests=4, seconds=10, replica="vllm-5", ttft_seconds=0.21)
        await on.collector_lives()
        await evaluator.tick(on.now)
    await on.deliver()

    assert [("SlowReplica", "vllm-3", "ticket")] == [
        (alert["labels"]["alertname"], alert["labels"]["replica"], alert["labels"]["severity"]) for alert in receiver.alerts
    ]


async def test_a_slow_burn_is_a_ticket(on: Scene) -> None:
    await on.serve(requests=10)
    (stream,) = await on.execute("SELECT id FROM streams WHERE objective_id = %s", (on.slos[0].objective.id,))
    minute = on.now.replace(second=0)
    for hours in range(1, 49):
        await on.execute(
            "INSERT INTO slo_minute VALUES (%s, %s, 980, 20)", (minute - timedelta(hours=hours, minutes=-1), stream[0])
        )
    evaluator = await on.begin()
    await on.collector_lives()
    await evaluator.tick(on.now)

    assert [("SLOSlowBurn", State.FIRING, "ticket")] == [
        (alert.name, alert.state, alert.severity.value) for alert in evaluator.alerts
    ]
