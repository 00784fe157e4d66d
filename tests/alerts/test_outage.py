from __future__ import annotations

import pytest

from alerts.alert import Condition, Severity, advance
from alerts.finding import Harm
from alerts.fleet import OomRequests, ReplicaState
from collector.event import Event
from tests.alerts.fleet import (
    HURT,
    IDS,
    NOW,
    ago,
    death,
    ended,
    find,
    fire,
    fleet,
    gone,
    name,
    only,
    oom,
    replica,
    restart,
)


def test_a_death_of_memory_pages_with_everything_that_is_known() -> None:
    finding = only(find(fleet(gone(), events=[oom(9), death(8, requests=IDS)]), HURT))

    assert {
        "alertname": "EngineOOM",
        "model": "llama",
        "replica": "vllm-0",
        "cluster": "default",
        "environment": "production",
    } == finding.labels
    assert (Condition.BREACH, Severity.PAGE) == finding.observation[0:3:2]
    expected = "llama on vllm-0: out of memory (CUDA) since 03:11:58 UTC, 0/1 ready, 37 of 40 requests failed in 5 min"
    assert expected == finding.text.summary
    assert (
        "Replica vllm-0 of llama ran out of memory (CUDA) at 03:11:58 UTC: its log says so.",
        "It is not ready: its health check answers 503.",
        "Requests that were being computed: 7 (cmpl-0, cmpl-1, cmpl-2, cmpl-3, cmpl-4 and 2 more).",
        "Ready replicas of llama: 0 of 1 (min_ready 1).",
    ) == finding.text.facts


@pytest.mark.parametrize(
    ("replicas", "harm", "severity"),
    [
        ((replica(), replica("vllm-1")), {}, Severity.TICKET),
        ((gone(), replica("vllm-1")), {}, Severity.TICKET),
        ((gone(),), {}, Severity.PAGE),
        ((replica(), replica("vllm-1")), HURT, Severity.PAGE),
    ],
    ids=["survived", "another one serves", "too few are ready", "users are hurt"],
)
def test_memory_is_a_ticket_and_a_page_on_harm(
    replicas: tuple[ReplicaState, ...], harm: dict[str, Harm], severity: Severity
) -> None:
    finding = only(find(fleet(*replicas, events=[oom(10)]), harm))

    assert ("EngineOOM", Condition.BREACH, severity) == (name(finding), *finding.observation[0:3:2])


def test_a_ticket_for_memory_waits_for_the_death_that_would_make_it_a_page() -> None:
    survived = [only(find(fleet(replica(), events=[oom(n)]))).observation for n in (9, 10)]
    died = only(find(fleet(gone(), events=[oom(2)]))).observation

    assert [(Condition.SUSPECT, Severity.TICKET), (Condition.BREACH, Severity.TICKET), (Condition.BREACH, Severity.PAGE)] == [
        (one.condition, one.severity) for one in (*survived, died)
    ]


def test_a_log_that_tells_of_the_death_is_faster_than_the_health_check() -> None:
    finding = only(find(fleet(replica(checked_at=ago(3)), events=[death(2)])))

    assert ("EngineOOM", Severity.PAGE) == (name(finding), finding.observation.severity)
    assert "0/1 ready" in finding.text.summary


def test_failed_requests_alone_confirm_it() -> None:
    rows = [OomRequests("llama", "vllm-0", 4, ago(9), ago(3))]
    finding = only(find(fleet(replica(), oom_requests=rows)))

    assert "llama on vllm-0: out of memory since 03:11:58 UTC, 1/1 ready" == finding.text.summary
    assert finding.text.facts[0].endswith("4 requests failed with an out-of-memory error.")


@pytest.mark.parametrize(
    ("events", "replica_named"),
    [([], None), ([oom(5, "vllm-1")], "vllm-1"), ([oom(5, "vllm-1"), oom(5, "vllm-0")], None)],
    ids=["no log", "one log", "two logs"],
)
def test_requests_that_name_no_replica_are_of_the_one_whose_log_says_so(events: list[Event], replica_named: str | None) -> None:
    rows = [OomRequests("llama", None, 4, ago(9), ago(3))]
    findings = find(fleet(replica(), replica("vllm-1"), events=events, oom_requests=rows))

    told = [one.labels.get("replica") for one in findings if "4 requests failed" in one.text.facts[0]]
    assert [replica_named] == told


def test_memory_of_an_engine_that_is_no_target_is_told_too() -> None:
    finding = only(find(fleet(replica(), events=[oom(5, "elsewhere", requests="cmpl-1")]), HURT))

    assert ("EngineOOM", "elsewhere", Severity.PAGE) == (name(finding), finding.labels["replica"], finding.observation.severity)
    assert finding.text.summary.startswith("llama on elsewhere: out of memory (CUDA) since 03:12:02 UTC")


def test_what_names_no_replica_is_one_alert_of_the_model() -> None:
    rows = [OomRequests("llama", None, 4, ago(9), ago(3))]
    finding = only(find(fleet(replica(), replica("vllm-1"), events=[oom(5, "unknown")], oom_requests=rows)))

    assert "replica" not in finding.labels
    assert "its log says so and 4 requests failed" in finding.text.facts[0]


def test_a_log_that_names_no_replica_is_that_of_the_only_one() -> None:
    assert "vllm-0" == only(find(fleet(replica(), events=[oom(5, "unknown")]))).labels["replica"]


def test_a_death_that_was_told_before_its_cause_is_one_alert_that_is_told_again() -> None:
    told = fire(only(find(fleet(gone()))))
    assert "EngineDead" == told.name
    finding = only(find(fleet(gone(), events=[death(8, requests=IDS)]), alerts=[told]))
    step = advance(told, finding.observation, NOW)

    assert told.labels == finding.labels
    assert "out of memory (CUDA)" in finding.text.summary
    assert [("firing", told.starts_at, 1)] == [notice[0:2] + notice[3:] for notice in step.notices]


def test_the_dead_engine_is_folded_under_its_memory_alert() -> None:
    first = only(find(fleet(replica(), replica("vllm-1"), events=[oom(12)])))
    later = only(find(fleet(gone(), replica("vllm-1"), events=[oom(12)]), alerts=[fire(first, 3)]))

    assert first.labels == later.labels


def test_request_ids_may_follow() -> None:
    alert = fire(only(find(fleet(gone(), events=[oom(9)]))), 5)
    step = advance(alert, only(find(fleet(gone(), events=[oom(9), death(8, requests=IDS)]), alerts=[alert])).observation, NOW)

    assert ["firing"] == [notice.status for notice in step.notices]
    assert (alert.starts_at, alert.fingerprint) == (step.alert.starts_at, step.alert.fingerprint)


def test_it_is_over_once_the_replica_is_ready_again() -> None:
    events = [oom(60), death(60)]
    alert = fire(only(find(fleet(gone(seconds=60), events=events))), 50)

    assert ["EngineOOM"] == list(map(name, find(fleet(gone(seconds=60), events=events), alerts=[alert])))
    assert [] == find(fleet(replica(health_since=ago(10)), events=[*events, restart(8, booted=50)]), alerts=[alert])


@pytest.mark.parametrize(("seconds", "found"), [(299, True), (301, False)])
def test_a_replica_that_stays_up_is_over_it_after_five_quiet_minutes(seconds: float, found: bool) -> None:
    alert = fire(only(find(fleet(replica(), events=[oom(seconds)]))), seconds)

    assert found == bool(find(fleet(replica(), events=[oom(seconds)]), alerts=[alert]))


def test_what_becomes_known_after_the_recovery_is_told_all_the_same_and_once() -> None:
    seen = fleet(replica(health_since=ago(600)), events=[oom(1200), restart(700)])
    alert = fire(only(find(seen)))

    assert "EngineOOM" == alert.name
    assert [] == find(seen, alerts=[alert])
    assert [] == find(seen, alerts=[ended(alert, 0)])


def test_a_dead_engine_stays_out_of_memory_however_long_it_takes() -> None:
    alert = fire(only(find(fleet(gone(), events=[death(8)]))), 7200)
    finding = only(find(fleet(gone(seconds=7300)), alerts=[alert]))

    assert ("EngineOOM", Condition.UNSURE) == (name(finding), finding.observation.condition)


def test_a_later_death_of_something_else_is_not_of_memory() -> None:
    alert = ended(fire(only(find(fleet(replica(), events=[oom(1000)]))), 1000), 600)

    assert "EngineDead" == name(only(find(fleet(gone(), events=[oom(1000)]), alerts=[alert])))


def test_the_cause_that_a_log_names_is_in_the_first_line() -> None:
    finding = only(find(fleet(gone(), events=[death(8, "device_error")])))

    assert "llama on vllm-0: engine dead (device error) since 03:11:59 UTC, 0/1 ready" == finding.text.summary
    assert "Its log names the cause: device error." in finding.text.facts


def test_a_zombie_is_named_in_the_first_line() -> None:
    finding = only(find(fleet(gone(zombie=True))))

    assert "llama on vllm-0: engine dead (zombie) since 03:11:59 UTC, 0/1 ready" == finding.text.summary
