from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Alert, Condition, Severity, advance
from alerts.symptoms import find_symptoms
from collector.event import Change, ChangeKind, Event, EventKind
from collector.sample import Health
from tests.alerts.fleet import (
    CONFIG,
    HURT,
    NOW,
    ago,
    change,
    death,
    ended,
    find,
    fire,
    fleet,
    gone,
    name,
    only,
    replica,
    restart,
)


def test_an_unexpected_restart_is_a_ticket_once_no_pipeline_has_told_of_it() -> None:
    soon = only(find(fleet(replica(), events=[restart(119)])))
    later = only(find(fleet(replica(), events=[restart(120)])))

    assert [("UnexpectedRestart", Condition.SUSPECT), ("UnexpectedRestart", Condition.BREACH)] == [
        (name(one), one.observation.condition) for one in (soon, later)
    ]
    assert Severity.TICKET is later.observation.severity
    assert "llama on vllm-0: unexpected restart since 03:10:07 UTC, 1/1 ready" == later.text.summary


def test_an_unexpected_restart_that_hurts_pages_at_once() -> None:
    observation = only(find(fleet(replica(), events=[restart(5)]), HURT)).observation

    assert (Condition.BREACH, Severity.PAGE) == (observation.condition, observation.severity)


def test_harm_long_after_a_restart_is_not_of_it() -> None:
    assert Severity.TICKET is only(find(fleet(replica(), events=[restart(400)]), HURT)).observation.severity


@pytest.mark.parametrize(
    ("known", "explains"),
    [
        (change(300), True),
        (change(300, replica="vllm-0"), True),
        (change(300, model="llama"), True),
        (change(300, replica="vllm-1"), False),
        (change(300, model="other"), False),
        (change(200 + 15 * 60), True),
        (change(201 + 15 * 60), False),
        (change(80), True),
        (change(79), False),
        (change(200, source="found", kind=ChangeKind.RESTART, detail={"started_at": "…"}), False),
        (change(200, source="found", kind=ChangeKind.CONFIG, detail={"block_size": "16 → 32"}), True),
        (change(200, source="found", kind=ChangeKind.CONFIG, detail={"num_gpu_blocks": "9 → 8"}), False),
        (change(200, source="found", kind=ChangeKind.VERSION, detail={"version": "0.31.0 → 0.32.0"}), True),
    ],
)
def test_a_change_explains_a_restart(known: Change, explains: bool) -> None:
    assert explains is ([] == find(fleet(replica(), events=[restart(200)], changes=[known]), HURT))


def test_an_engine_that_loads_for_long_is_explained_by_what_was_told_before_it_began() -> None:
    events = [restart(200, booted=1800)]

    assert [] == find(fleet(replica(), events=events, changes=[change(1900)]))


def test_a_deploy_that_was_told_of_may_take_its_time_while_nobody_is_hurt() -> None:
    seen = fleet(gone(seconds=600), changes=[change(610)])

    assert [Condition.UNSURE] == [one.observation.condition for one in find(seen)]
    assert [Condition.BREACH] == [one.observation.condition for one in find(seen, HURT)]
    found = change(610, source="found", kind=ChangeKind.CONFIG, detail={"block_size": "16 → 32"})
    assert [Condition.BREACH] == [one.observation.condition for one in find(seen._replace(changes=[found]))]
    assert [Condition.BREACH] == [one.observation.condition for one in find(seen._replace(events=[death(600, "device_error")]))]
    assert [Condition.BREACH] == [one.observation.condition for one in find(fleet(gone(seconds=900), changes=[change(910)]))]


def test_the_restart_that_ends_an_outage_that_was_told_is_no_symptom_of_its_own() -> None:
    alert = fire(only(find(fleet(gone()))), 240)
    seen = fleet(replica(health_since=ago(200)), events=[restart(190)])

    assert [] == find(seen, alerts=[ended(alert, 200)])
    assert ["UnexpectedRestart"] == list(map(name, find(seen, alerts=[ended(alert, 3600)])))


def test_three_unexpected_restarts_are_a_crash_loop() -> None:
    alert = ended(fire(only(find(fleet(gone()))), 800), 5)
    finding = only(find(fleet(replica(), events=[restart(n) for n in (700, 400, 30)]), alerts=[alert]))

    assert "llama on vllm-0: 3 unexpected restarts since 03:00:27 UTC, 1/1 ready" == finding.text.summary
    assert (Condition.BREACH, Severity.TICKET) == finding.observation[0:3:2]
    assert "It restarted 3 times in 15 min: a crash loop." in finding.text.facts


def test_restart_that_two_collectors_saw_is_one() -> None:
    events = [restart(n, booted=250) for n in (205, 203, 200)]

    assert "unexpected restart since" in only(find(fleet(replica(), events=events))).text.summary


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(30, 600), st.integers(0, 60), st.booleans()), min_size=50, max_size=50), st.booleans())
def test_fifty_restarts_page_nobody_for_memory_and_nobody_at_all_where_they_were_told(
    restarts: list[tuple[int, int, bool]], told: bool
) -> None:
    """Each some seconds after the last, loading for some seconds, found by its process or by its health check as well."""
    events: list[Event] = []
    changes: list[Change] = []
    alerts: dict[str, Alert] = {}
    tickets = set()
    now = NOW
    for pause, loading, noticed in restarts:
        now += timedelta(seconds=pause)
        began, at = now, now + timedelta(seconds=loading)
        if told:
            changes.append(Change(at=began, kind=ChangeKind.RESTART, source="ops", replica="vllm-0"))
        events.append(
            Event(at=at, kind=EventKind.RESTART, replica="vllm-0", model="llama", detail={"started_at": began.isoformat()})
        )
        for second in (loading // 2, loading + 1, loading + 15, loading + 125):
            then = began + timedelta(seconds=second)
            down = noticed and then < at
            state = replica(
                health=Health.UNREACHABLE if down else Health.READY,
                health_since=began if down else at,
                checked_at=then,
                ready_at=began if down else then,
                scraped_at=then,
            )
            recent = [one for one in events if then - timedelta(hours=1) < one.at <= then]
            seen = fleet(state, replica("vllm-1", checked_at=then, scraped_at=then), events=recent, changes=changes)
            symptoms = find_symptoms(seen._replace(collector_seen_at=then), {}, CONFIG, NOW, then, alerts)
            for finding in symptoms.findings:
                alert = Alert(labels=finding.labels, since=then)
                alert = advance(alerts.get(alert.fingerprint, alert), finding.observation, then).alert
                alerts[alert.fingerprint] = alert
                tickets |= {(alert.name, alert.severity)} if alert.active else set()
    assert tickets <= {("UnexpectedRestart", Severity.TICKET), ("EngineDead", Severity.TICKET)}
    assert told is (not tickets)
