from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pytest

from alerts.alert import Condition, Severity
from alerts.burn import Tally
from alerts.finding import Finding, Harm, Symptoms
from alerts.fleet import Fleet, ReplicaState
from alerts.symptoms import find_symptoms
from collector.config import Config, Model
from collector.sample import Health
from collector.target import Target
from tests.alerts.fleet import NOW, ago, replica

CONFIG = Config(
    targets=(Target(url="http://h:8000", replica="vllm-0"), Target(url="http://h:8001", replica="vllm-1", scrape_seconds=60)),
    models={"llama": Model(min_ready=2)},
)


def dead(name: str = "vllm-0", **changes: object) -> ReplicaState:
    down = {"health": Health.UNREACHABLE, "health_status": None, "health_since": ago(6), "ready_at": ago(11)}
    return replica(name, **{**down, **changes})


def fleet(*replicas: ReplicaState, **changes: object) -> Fleet:
    usual = Fleet(replicas, ago(2), ago(7200), 0.0, True, True)
    return usual._replace(**changes)  # type: ignore[arg-type]  # a test names its own fields


def find(seen: Fleet, harm: Mapping[str, Harm] | None = None, config: Config = CONFIG) -> Symptoms:
    return find_symptoms(seen, harm or {}, config, ago(3600), NOW)


def only(symptoms: Symptoms) -> Finding:
    (finding,) = symptoms.findings
    return finding


HURT = {"llama": Harm(Tally(10, 30), hurt=True)}


def test_a_healthy_fleet_has_no_symptoms() -> None:
    assert Symptoms((), False) == find(fleet(replica("vllm-0"), replica("vllm-1")))


def test_an_engine_that_fails_two_checks_is_dead() -> None:
    finding = only(find(fleet(dead(), replica("vllm-1"), replica("vllm-2"))))

    assert {
        "alertname": "EngineDead",
        "model": "llama",
        "replica": "vllm-0",
        "cluster": "default",
        "environment": "production",
    } == finding.labels
    assert Condition.BREACH is finding.observation.condition
    assert Severity.TICKET is finding.observation.severity
    assert "llama on vllm-0: engine dead since 03:11:56 UTC, 2/3 ready" == finding.text.summary


def test_one_failed_check_is_only_a_suspicion() -> None:
    finding = only(find(fleet(dead(health_since=ago(1), ready_at=ago(6)), replica("vllm-1"))))

    assert Condition.SUSPECT is finding.observation.condition


def test_too_few_ready_replicas_page() -> None:
    finding = only(find(fleet(dead(), replica("vllm-1"))))

    assert Severity.PAGE is finding.observation.severity
    assert "Ready replicas of llama: 1 of 2 (min_ready 2)." in finding.text.facts


def test_hurt_users_page_however_many_replicas_are_left() -> None:
    finding = only(find(fleet(dead(), *(replica(f"r{n}") for n in range(7))), HURT))

    assert Severity.PAGE is finding.observation.severity
    assert finding.text.summary.endswith("7/8 ready, 30 of 40 requests failed in 5 min")


def test_replicas_elsewhere_do_not_count_as_ready() -> None:
    finding = only(find(fleet(dead(), replica("vllm-1"), replica("s-1", environment="staging"))))

    assert Severity.PAGE is finding.observation.severity


def test_a_zombie_is_told_as_the_cause() -> None:
    finding = only(find(fleet(dead(health=Health.FAILING, health_status=503, zombie=True))))

    assert "its health check answers 503" in finding.observation.reason
    assert any("zombie" in fact for fact in finding.text.facts)


@pytest.mark.parametrize("ready_at", [None, ago(7201)], ids=["never ready", "ready before the collector started"])
def test_an_engine_may_take_its_time_to_start(ready_at: datetime | None) -> None:
    starting = only(find(fleet(dead(ready_at=ready_at, health_since=ago(899)))))
    stuck = only(find(fleet(dead(ready_at=ready_at, health_since=ago(900)))))

    assert [Condition.UNSURE, Condition.BREACH] == [starting.observation.condition, stuck.observation.condition]
    assert "engine not ready" in stuck.text.summary


def test_an_engine_that_starts_while_users_are_hurt_pages_at_once() -> None:
    finding = only(find(fleet(dead(ready_at=None, health_since=ago(30))), HURT))

    assert (Condition.BREACH, Severity.PAGE) == (finding.observation.condition, finding.observation.severity)


@pytest.mark.parametrize(("age", "found"), [(60, False), (61, True)])
def test_a_replica_without_scrapes_for_a_minute_has_no_data(age: float, found: bool) -> None:
    symptoms = find(fleet(replica(scraped_at=ago(age)), replica("vllm-1")))

    assert found == ("NoData" in [finding.labels["alertname"] for finding in symptoms.findings])


@pytest.mark.parametrize(("age", "found"), [(180, False), (181, True)])
def test_a_slow_scrape_interval_gives_more_time(age: float, found: bool) -> None:
    symptoms = find(fleet(replica("vllm-1", scraped_at=ago(age))))

    assert found == bool(symptoms.findings)


def test_no_data_of_a_replica_that_is_ready_is_a_ticket() -> None:
    finding = only(find(fleet(replica(scraped_at=ago(100)), replica("vllm-1"))))

    assert Severity.TICKET is finding.observation.severity


def test_a_replica_that_nobody_checks_does_not_count_as_ready() -> None:
    stale = replica(scraped_at=ago(100), checked_at=ago(100))

    assert Severity.PAGE is only(find(fleet(stale, replica("vllm-1")))).observation.severity


def test_a_dead_engine_has_one_symptom_only() -> None:
    finding = only(find(fleet(dead(scraped_at=ago(500), gauges_frozen_since=ago(500)))))

    assert "EngineDead" == finding.labels["alertname"]


def test_a_target_that_was_taken_away_is_forgotten() -> None:
    assert () == find(fleet(replica(scraped_at=ago(4000), checked_at=ago(3601)))).findings


@pytest.mark.parametrize(("age", "found"), [(59, False), (60, True)])
def test_gauges_that_stand_still_for_a_minute_are_frozen(age: float, found: bool) -> None:
    symptoms = find(fleet(replica(gauges_frozen_since=ago(age)), replica("vllm-1"), replica("vllm-2")))

    assert found == bool(symptoms.findings)


def test_a_frozen_replica_does_not_count_as_ready() -> None:
    finding = only(find(fleet(replica(gauges_frozen_since=ago(70)), replica("vllm-1"))))

    assert ("FrozenGauges", Severity.PAGE) == (finding.labels["alertname"], finding.observation.severity)


@pytest.mark.parametrize(("age", "blind"), [(30, False), (31, True)])
def test_without_a_collector_monitoring_is_blind_and_pages(age: float, blind: bool) -> None:
    symptoms = find(fleet(replica(scraped_at=ago(500), checked_at=ago(500)), collector_seen_at=ago(age)))

    assert blind is symptoms.blind
    assert blind is ("MonitoringBlind" == only(symptoms).labels["alertname"])
    assert not blind or only(symptoms).observation.severity is Severity.PAGE


def test_an_alerter_that_has_just_started_gives_the_collector_time() -> None:
    stopped = fleet(collector_seen_at=ago(86_400))

    assert not find_symptoms(stopped, {}, CONFIG, ago(30), NOW).blind
    assert find_symptoms(stopped, {}, CONFIG, ago(31), NOW).blind


def test_an_installation_without_a_collector_is_not_blind() -> None:
    assert Symptoms((), False) == find(fleet(collector_seen_at=None, collector_started_at=None))


@pytest.mark.parametrize(
    ("finished", "recent", "before", "found"),
    [(10, False, True, True), (9, False, True, False), (500, True, True, False), (500, False, False, False)],
)
def test_engines_that_work_without_spans_are_a_ticket(finished: float, recent: bool, before: bool, found: bool) -> None:
    symptoms = find(fleet(finished_requests=finished, spans_recent=recent, spans_before=before))

    assert [("NoSpans", Severity.TICKET)] * found == [
        (finding.labels["alertname"], finding.observation.severity) for finding in symptoms.findings
    ]


def test_a_replica_that_is_no_target_any_more_is_neither_dead_nor_silent_nor_a_peer() -> None:
    gone = replica("vllm-1", health=Health.GONE, health_since=ago(600), checked_at=ago(600), scraped_at=ago(600))
    assert () == find(fleet(replica(), gone)).findings
    (finding,) = find(fleet(dead(), gone)).findings
    assert "0/1 ready" in finding.text.summary


def test_an_engine_whose_last_good_check_is_yet_to_come_is_not_taken_for_alive() -> None:
    set_back = dead("vllm-0", ready_at=ago(-3600), health_since=ago(-3590))
    (finding,) = find(fleet(set_back, replica("vllm-1")), {"llama": Harm(Tally(3, 37), True)}).findings
    assert ("EngineDead", Condition.BREACH, Severity.PAGE) == (
        finding.labels["alertname"],
        finding.observation.condition,
        finding.observation.severity,
    )
