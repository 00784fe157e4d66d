from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import (
    FLAP,
    REFIRE,
    UPDATE_EVERY,
    Alert,
    Condition,
    Notice,
    Observation,
    Severity,
    State,
    Step,
    advance,
    fingerprint,
    restore,
)

START = datetime(2025, 1, 1, 3, 0, tzinfo=UTC)
LABELS = {"alertname": "EngineDead", "model": "llama", "replica": "vllm-0"}
HOLD = 10.0
ALLOWED = {
    (State.INACTIVE, State.PENDING),
    (State.INACTIVE, State.FIRING),
    (State.PENDING, State.INACTIVE),
    (State.PENDING, State.FIRING),
    (State.FIRING, State.FIRING),  # a rise in severity, or more that is known
    (State.FIRING, State.RESOLVING),
    (State.RESOLVING, State.FIRING),
    (State.RESOLVING, State.RESOLVED),
    (State.RESOLVED, State.PENDING),
    (State.RESOLVED, State.FIRING),
}


def seen(condition: Condition, severity: Severity = Severity.TICKET, *known: str) -> Observation:
    return Observation(condition, f"it is {condition.value}", severity, HOLD, frozenset(known))


def play(*steps: tuple[float, Condition], alert: Alert | None = None) -> list[Step]:
    """Evaluations at seconds after START."""
    alert = alert or Alert(labels=LABELS, since=START)
    done = []
    for second, condition in steps:
        done.append(advance(alert, seen(condition), START + timedelta(seconds=second)))
        alert = done[-1].alert
    return done


def statuses(steps: list[Step]) -> list[str]:
    return [notice.status for step in steps for notice in step.notices]


@given(
    st.lists(
        st.tuples(
            st.integers(1, 400),
            st.sampled_from(Condition),
            st.sampled_from(Severity),
            st.sets(st.sampled_from(["out of memory", "requests"])),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_every_sequence_keeps_the_promises(steps: list[tuple[int, Condition, Severity, set[str], bool]]) -> None:
    alert, restarted = Alert(labels=LABELS, since=START), Alert(labels=LABELS, since=START)
    now, told = START, list[Notice]()
    for seconds, condition, severity, known, restart in steps:
        now += timedelta(seconds=seconds)
        if restart:
            stored = json.loads(json.dumps([restarted.sent_labels, restarted.detector]))
            restarted = restore(
                stored[0], restarted.state.value, stored[1], restarted.starts_at, restarted.ends_at, restarted.annotations
            )
        before = alert
        step = advance(alert, seen(condition, severity, *known), now)
        # A restart changes nothing.
        assert step == advance(restarted, seen(condition, severity, *known), now)
        alert = restarted = step.alert
        # Each flip is recorded once, and lies in the table.
        assert {(flip.from_state, flip.to_state) for flip in step.flips} <= ALLOWED
        assert (before.state is not alert.state) <= (len(step.flips) == 1)
        assert all((before.state, alert.state, now) == (flip.from_state, flip.to_state, flip.at) for flip in step.flips)
        # Nobody is told without a flip, and nobody is told the same twice.
        assert len(step.notices) <= len(step.flips) <= 1
        for notice in step.notices:
            assert (notice.starts_at, notice.revision, notice.status) not in {
                (other.starts_at, other.revision, other.status) for other in told
            }
            told.append(notice)
        # The start is stable while it fires, and what is known is frozen without data.
        if before.active:
            assert before.starts_at == alert.starts_at
            # What was told is not taken back, and nothing counts as told that was not.
            assert before.known <= alert.known
            assert before.known == alert.known or step.notices
        if condition is Condition.NO_DATA:
            assert before.state is alert.state
    check_order(told)


def check_order(told: list[Notice]) -> None:
    """Between two resolved there is a firing, and another firing without a resolved is a rise in severity or an update: one
    for each thing that can be known."""
    updates = 0
    for before, after in pairwise(told):
        if after.status == "resolved":
            assert "firing" == before.status
            assert (before.starts_at, before.revision) == (after.starts_at, after.revision)
            updates = 0
        elif before.status == "firing":
            updates += 1
            assert updates <= 3
            assert (before.starts_at, before.revision + 1) == (after.starts_at, after.revision)
    if told:
        assert "firing" == told[0].status


def test_a_breach_fires_and_its_end_resolves_after_the_hold_time() -> None:
    steps = play((0, Condition.BREACH), (5, Condition.CLEAR), (14, Condition.CLEAR), (15, Condition.CLEAR))

    assert [State.FIRING, State.RESOLVING, State.RESOLVING, State.RESOLVED] == [step.alert.state for step in steps]
    assert ["firing", "resolved"] == statuses(steps)
    assert Notice("resolved", START, START + timedelta(seconds=15), 0) == steps[-1].notices[0]


def test_a_suspicion_tells_nobody() -> None:
    steps = play((0, Condition.SUSPECT), (1, Condition.SUSPECT), (2, Condition.CLEAR))

    assert [State.PENDING, State.PENDING, State.INACTIVE] == [step.alert.state for step in steps]
    assert [] == statuses(steps)


def test_a_relapse_while_resolving_tells_nobody_again() -> None:
    steps = play((0, Condition.BREACH), (5, Condition.CLEAR), (9, Condition.BREACH), (10, Condition.BREACH))

    assert ["firing"] == statuses(steps)
    assert START == steps[-1].alert.starts_at


def test_no_data_freezes_a_firing_alert_and_restarts_the_hold_time_of_a_recovery() -> None:
    steps = play((0, Condition.BREACH), (1000, Condition.NO_DATA), (1001, Condition.CLEAR), (1009, Condition.NO_DATA))
    after = play((1012, Condition.CLEAR), (1019, Condition.CLEAR), alert=steps[-1].alert)

    assert [State.FIRING, State.RESOLVING, State.RESOLVING] == [step.alert.state for step in steps[1:]]
    assert [State.RESOLVING, State.RESOLVED] == [step.alert.state for step in after]


def test_doubt_about_a_recovery_makes_it_fire_on_without_telling() -> None:
    steps = play((0, Condition.BREACH), (1, Condition.CLEAR), (2, Condition.UNSURE))

    assert State.FIRING is steps[-1].alert.state
    assert ["firing"] == statuses(steps)


def test_firing_again_within_10_minutes_is_the_same_alert() -> None:
    end = 10 + REFIRE.total_seconds()
    steps = play((0, Condition.BREACH), (0, Condition.CLEAR), (10, Condition.CLEAR), (end, Condition.BREACH))

    assert ["firing", "resolved", "firing"] == statuses(steps)
    assert Notice("firing", START, None, 1) == steps[-1].notices[0]


def test_firing_again_later_is_a_new_alert() -> None:
    end = 11 + REFIRE.total_seconds()
    steps = play((0, Condition.BREACH), (0, Condition.CLEAR), (10, Condition.CLEAR), (end, Condition.BREACH))

    assert Notice("firing", START + timedelta(seconds=end), None, 0) == steps[-1].notices[0]


def test_a_rise_to_a_page_is_told_once_and_is_never_taken_back() -> None:
    alert = advance(Alert(labels=LABELS, since=START), seen(Condition.BREACH), START).alert
    raised = advance(alert, seen(Condition.BREACH, Severity.PAGE), START + timedelta(seconds=1))
    lowered = advance(raised.alert, seen(Condition.BREACH, Severity.TICKET), START + timedelta(seconds=2))

    assert (Notice("firing", START, None, 1),) == raised.notices
    assert Severity.PAGE is raised.alert.severity
    assert alert.fingerprint == raised.alert.fingerprint
    assert Step(raised.alert, (), ()) == lowered


def test_more_that_is_known_is_told_once_at_once_and_then_at_most_once_a_minute() -> None:
    alert = advance(Alert(labels=LABELS, since=START), seen(Condition.BREACH), START).alert
    notices = []
    minute = int(UPDATE_EVERY.total_seconds())
    for second, known in [
        (1, ("oom",)),
        (2, ("oom",)),
        (3, ("oom", "requests")),
        (minute, ("requests",)),
        (1 + minute, ("requests",)),
    ]:
        step = advance(alert, seen(Condition.BREACH, Severity.TICKET, *known), START + timedelta(seconds=second))
        notices += [(second, notice) for notice in step.notices]
        alert = step.alert

    assert [(1, Notice("firing", START, None, 1)), (1 + minute, Notice("firing", START, None, 2))] == notices
    assert {"oom", "requests"} == alert.known


def test_what_is_known_when_it_fires_or_rises_is_told_with_that() -> None:
    alert = advance(Alert(labels=LABELS, since=START), seen(Condition.BREACH, Severity.TICKET, "oom"), START).alert
    raised = advance(alert, seen(Condition.BREACH, Severity.PAGE, "oom", "requests"), START + timedelta(seconds=1))
    after = advance(raised.alert, seen(Condition.BREACH, Severity.PAGE, "requests"), START + timedelta(seconds=90))

    assert (1, 1, 0) == (raised.alert.revision, len(raised.notices), len(after.notices))


def test_a_new_start_forgets_what_was_known_and_a_refire_does_not() -> None:
    alert = advance(Alert(labels=LABELS, since=START), seen(Condition.BREACH, Severity.TICKET, "oom"), START).alert
    for second in (0, 10):
        alert = advance(alert, seen(Condition.CLEAR), START + timedelta(seconds=second)).alert
    again, later = (
        advance(alert, seen(Condition.BREACH), START + timedelta(seconds=10) + pause).alert
        for pause in (REFIRE, REFIRE + timedelta(seconds=1))
    )

    assert (frozenset({"oom"}), frozenset()) == (again.known, later.known)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        # The vectors of prometheus/common's own tests.
        ({}, 14695981039346656037),
        ({"name": "garland, briggs", "fear": "love is not enough"}, 5799056148416392346),
    ],
)
def test_the_fingerprint_is_that_of_prometheus(labels: dict[str, str], expected: int) -> None:
    assert f"{expected:016x}" == fingerprint(labels)


def test_the_time_of_a_rise_is_kept_until_the_next_start() -> None:
    raised = START + timedelta(seconds=30)
    alert = advance(Alert(labels=LABELS, since=START), seen(Condition.BREACH), START).alert
    assert alert.raised_at is None
    alert = advance(alert, seen(Condition.BREACH, Severity.PAGE), raised).alert
    assert raised == alert.raised_at
    for second in (40, 60):
        alert = advance(alert, seen(Condition.CLEAR), START + timedelta(seconds=second)).alert
    assert (State.RESOLVED, raised) == (alert.state, alert.raised_at)

    again = advance(alert, seen(Condition.BREACH), START + timedelta(seconds=61)).alert
    assert raised == again.raised_at
    later = advance(alert, seen(Condition.BREACH), START + timedelta(seconds=61) + REFIRE).alert
    assert later.raised_at is None


def test_an_alert_that_fires_again_within_an_hour_counts_it_and_a_restart_does_not_forget() -> None:
    alert, flaps = Alert(labels=LABELS, since=START), []
    start = 0.0
    for pause in (0.0, 60.0, 1000.0, FLAP.total_seconds(), FLAP.total_seconds() + 1):
        start += pause
        steps = play((start, Condition.BREACH), (start, Condition.CLEAR), (start + HOLD, Condition.CLEAR), alert=alert)
        alert = steps[-1].alert
        kept = restore(alert.sent_labels, alert.state, alert.detector, alert.starts_at, alert.ends_at, alert.annotations)
        assert alert == kept
        flaps.append(alert.flaps)
        start += HOLD

    assert [0, 1, 2, 3, 0] == flaps
