from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from collector.objective import OUR_FAULT, Objective, Sli, Verdict, judge
from collector.request import ObservedBy, Outcome, Request, TrafficClass

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
REQUEST = Request(
    trace_id=b"t" * 16,
    span_id=b"s" * 8,
    started_at=NOW,
    ended_at=NOW,
    observed_by=ObservedBy.GATEWAY,
    tenant="acme",
    requested_model="tiny",
    outcome=Outcome.OK,
    ttft_seconds=0.4,
    latency_seconds=2.0,
    output_tokens=17,
    dialect="test",
)
AVAILABILITY = Objective(Sli.AVAILABILITY)
TTFT = Objective(Sli.TTFT, 0.5)


def goods(request: Request, *objectives: Objective) -> list[bool]:
    return [verdict.good for verdict in judge(request, objectives)]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_availability_judges_what_was_served_or_failed_by_us_and_nothing_else(outcome: Outcome) -> None:
    expected = [True] if outcome is Outcome.OK else [False] if outcome in OUR_FAULT else []
    assert expected == goods(replace(REQUEST, outcome=outcome), AVAILABILITY)


def test_threshold_itself_passes() -> None:
    assert goods(replace(REQUEST, ttft_seconds=0.5), TTFT) == [True]
    assert goods(replace(REQUEST, ttft_seconds=0.5001), TTFT) == [False]


def test_call_without_ttft_is_not_judged_by_ttft() -> None:
    assert goods(replace(REQUEST, ttft_seconds=None), TTFT) == []


def test_timeout_before_the_first_token_fails_ttft() -> None:
    timeout = replace(REQUEST, outcome=Outcome.TIMEOUT, ttft_seconds=None, latency_seconds=30.0)
    assert goods(timeout, TTFT) == [False]


def test_tpot_is_the_time_after_the_first_token_per_further_token() -> None:
    assert goods(REQUEST, Objective(Sli.TPOT, 0.1)) == [True]
    assert goods(REQUEST, Objective(Sli.TPOT, 0.0999)) == [False]


def test_selector_and_traffic_class_decide_whom_it_concerns() -> None:
    assert goods(REQUEST, Objective(Sli.AVAILABILITY, models=("other",))) == []
    assert goods(REQUEST, Objective(Sli.AVAILABILITY, tenants=("other",))) == []
    assert goods(REQUEST, Objective(Sli.AVAILABILITY, observed_by=ObservedBy.CLIENT)) == []
    assert goods(replace(REQUEST, traffic_class=TrafficClass.SYNTHETIC), AVAILABILITY) == []
    assert goods(REQUEST, Objective(Sli.AVAILABILITY, models=("tiny",), tenants=("acme",))) == [True]


def test_stream_is_named_by_the_group_by_values() -> None:
    objective = Objective(Sli.AVAILABILITY, group_by=("tenant", "model", "replica"))
    assert judge(REQUEST, [objective]) == (Verdict(objective.id, '{"model":"tiny","replica":"unknown","tenant":"acme"}', True),)


def test_a_changed_objective_is_a_new_one() -> None:
    ids = {
        Objective(Sli.TTFT, 0.5).id,
        Objective(Sli.TTFT, 0.6).id,
        Objective(Sli.TTFT, 0.5, models=("a",)).id,
        Objective(Sli.TTFT, 0.5, group_by=("tenant",)).id,
    }
    assert len(ids) == 4
    assert Objective(Sli.TTFT, 0.5, models=("a", "b")).id == Objective(Sli.TTFT, 0.5, models=("b", "a")).id
