from __future__ import annotations

import pytest

from alerts.alert import Severity
from collector.event import EventKind
from collector.sample import Health
from tests.alerts.fleet import CONFIG, HURT, event, find, fleet, gone, name, only, replica

FAILED, RECOVERED = EventKind.CANARY_FAILED, EventKind.CANARY_RECOVERED


def test_a_failing_canary_of_one_of_two_replicas_is_a_ticket_that_names_the_outcome() -> None:
    seen = fleet(
        replica(), replica("vllm-1"), events=[event(FAILED, 900, outcome="timeout"), event(FAILED, 1, outcome="timeout")]
    )
    finding = only(find(seen))
    assert ("CanaryFailed", Severity.TICKET) == (name(finding), finding.observation.severity)
    assert "llama on vllm-0: canary failed (timeout) since 02:57:07 UTC, 1/2 ready" == finding.text.summary


def test_it_pages_where_too_few_others_serve_or_users_are_hurt() -> None:
    assert 1 == CONFIG.min_ready("llama")
    events = [event(FAILED, 5, outcome="server_error")]
    assert Severity.PAGE is only(find(fleet(replica(), events=events))).observation.severity
    two = fleet(replica(), replica("vllm-1"), events=events)
    assert Severity.PAGE is only(find(two, HURT)).observation.severity


@pytest.mark.parametrize(
    "events",
    [
        [event(FAILED, 60), event(RECOVERED, 5)],
        [event(FAILED, 33 * 60)],
        [event(FAILED, 7300)],
    ],
    ids=["recovered", "nobody says so any more", "before the engine came back"],
)
def test_it_is_over(events: list[object]) -> None:
    assert [] == find(fleet(replica(), events=events))


def test_an_engine_that_is_dead_has_no_other_symptom() -> None:
    seen = fleet(gone(health=Health.UNREACHABLE), events=[event(FAILED, 5, outcome="unavailable")])
    assert "EngineDead" == name(only(find(seen)))
