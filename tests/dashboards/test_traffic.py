"""The numbers of the board against the same numbers computed in Python from the calls themselves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from collector.objective import OUR_FAULT
from collector.request import ObservedBy, Outcome, TrafficClass
from collector.sketch import RELATIVE_ERROR
from dashboards.traffic import JUDGED, QUANTILES, outcome_label
from tests.dashboards.conftest import Shown
from tests.dashboards.fleet import MINUTES, OUTAGE, Call
from tests.dashboards.grafana import Choice, View

FIVE = timedelta(minutes=5)
PLACES: Mapping[str, Mapping[str, Choice]] = {
    "all": {},
    "one tenant": {"tenant": ["acme"]},
    "two tenants and a model": {"tenant": ["acme", "o'brien & söhne"], "model": ["large"]},
    "one model": {"model": ["tiny"]},
    "two replicas": {"replica": ["tiny-0", "large-0"]},
    "one environment": {"environment": ["staging"]},
}


def calls_in(shown: Shown, view: View, observer: ObservedBy = ObservedBy.GATEWAY) -> list[Call]:
    """The calls that a view shows: whole minutes, one observer, no probes, what the variables choose."""
    first = math.ceil((view.start - shown.base) / timedelta(minutes=1))
    last = (view.end - shown.base) // timedelta(minutes=1)
    fields = ("environment", "model", "tenant", "replica")
    return [
        call
        for call in shown.calls
        if first <= call.minute < last
        and call.observed_by is observer
        and call.traffic_class is not TrafficClass.SYNTHETIC
        and all(view.choices[field] == "$__all" or getattr(call, field) in view.choices[field] for field in fields)
    ]


def slots(shown: Shown, view: View, calls: Iterable[Call], label: Callable[[Call], str]) -> dict[tuple[float, str], list[Call]]:
    """Calls by the start of their slot [epoch seconds] and a label."""
    groups: dict[tuple[float, str], list[Call]] = defaultdict(list)
    seconds = view.interval.total_seconds()
    for call in calls:
        at = (shown.base + timedelta(minutes=call.minute)).timestamp()
        groups[at // seconds * seconds, label(call)].append(call)
    return groups


def seconds_of(shown: Shown, view: View, slot: float) -> int:
    """Seconds of a slot that lie in whole minutes of the view: counted, not computed."""
    first = math.ceil((view.start - shown.base) / timedelta(minutes=1))
    last = (view.end - shown.base) // timedelta(minutes=1)
    starts = [(shown.base + timedelta(minutes=minute)).timestamp() for minute in range(first, last)]
    return 60 * sum(slot <= start < slot + view.interval.total_seconds() for start in starts)


def series(shown: Shown, title: str, view: View, value: str = "value") -> dict[tuple[float, str], float]:
    """What a panel shows: (slot, label) → value."""
    rows = shown.rows(shown.source(title, "time_series"), view)
    label = next((name for name in ("metric", "model", "replica") if rows and name in rows[0]), None)
    return {(float(row["time"]), row[label] if label else ""): float(row[value]) for row in rows if row[value] is not None}


def weight(calls: Iterable[Call]) -> float:
    """The calls that these rows stand for."""
    return sum(call.weight for call in calls)


def within(exact: Any) -> Any:
    """Equal to everything that a sketch may say: off by at most 2 % of the exact value, and a hair of rounding."""
    return pytest.approx(exact, rel=RELATIVE_ERROR + 1e-9)


def nearest_rank(values: Iterable[float], share: float) -> float:
    """The exact quantile."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("interval", [timedelta(minutes=1), FIVE])
def test_requests_by_outcome_are_the_calls_per_second(shown: Shown, place: str, interval: timedelta) -> None:
    view = shown.view(interval, **PLACES[place])
    expected = {
        key: weight(group) / seconds_of(shown, view, key[0])
        for key, group in slots(shown, view, calls_in(shown, view), lambda call: outcome_label(call.outcome)).items()
    }
    assert expected == pytest.approx(series(shown, "Requests by outcome", view))
    failures = {key: rate for key, rate in expected.items() if key[1] != "ok"}
    assert failures == pytest.approx(series(shown, "Failures by type", view))


def test_one_observer_counts_and_the_other_can_be_chosen(shown: Shown) -> None:
    view = shown.view(observed_by="2")
    calls = calls_in(shown, view, ObservedBy.CLIENT)
    expected = {
        key: weight(group) / seconds_of(shown, view, key[0])
        for key, group in slots(shown, view, calls, lambda call: outcome_label(call.outcome)).items()
    }
    assert expected == pytest.approx(series(shown, "Requests by outcome", view))


def test_a_tenant_and_a_replica_together_show_the_tenant(shown: Shown) -> None:
    both, tenant = shown.view(tenant=["acme"], replica=["tiny-0"]), shown.view(tenant=["acme"])
    assert series(shown, "Requests by outcome", tenant) == series(shown, "Requests by outcome", both)


@pytest.mark.parametrize("place", PLACES)
def test_availability_is_the_share_of_judged_calls_that_were_served(shown: Shown, place: str) -> None:
    view = shown.view(timedelta(minutes=1), **PLACES[place])
    judged = [call for call in calls_in(shown, view) if call.outcome in JUDGED]
    expected = {
        key: weight(call for call in group if call.outcome is Outcome.OK) / weight(group)
        for key, group in slots(shown, view, judged, lambda _: "").items()
    }
    assert expected == pytest.approx(series(shown, "Availability", view, "availability"))
    [whole] = shown.rows(shown.source("Availability", "table"), view)
    served = weight(call for call in judged if call.outcome is Outcome.OK) / weight(judged)
    assert served == pytest.approx(whole["availability"])


def test_a_total_outage_is_an_availability_of_zero(shown: Shown) -> None:
    found = series(shown, "Availability", shown.view(timedelta(minutes=1), model=["large"]), "availability")
    down = [found[(shown.base + timedelta(minutes=minute)).timestamp(), ""] for minute in OUTAGE]
    assert [0.0] * len(OUTAGE) == down
    assert MINUTES - len(OUTAGE) - 2 <= sum(value > 0 for value in found.values())


@pytest.mark.parametrize(
    ("title", "quantity", "outcomes"),
    [
        ("TTFT", "ttft_seconds", {Outcome.OK}),
        ("TPOT", "tpot_seconds", {Outcome.OK}),
        ("Latency", "latency_seconds", {Outcome.OK, Outcome.TIMEOUT}),
    ],
)
@pytest.mark.parametrize("place", ["all", "one model", "two replicas", "one environment"])
def test_quantiles_are_within_two_per_cent_of_the_exact_ones(
    shown: Shown, title: str, quantity: str, outcomes: set[Outcome], place: str
) -> None:
    view = shown.view(**PLACES[place])
    known = [call for call in calls_in(shown, view) if call.outcome in outcomes and getattr(call, quantity) is not None]
    by_model = slots(shown, view, known, lambda call: call.model)
    for name, share in QUANTILES.items():
        expected = {key: nearest_rank((getattr(call, quantity) for call in group), share) for key, group in by_model.items()}
        assert within(expected) == series(shown, f"{title} by model", view, name)
    by_replica = slots(shown, view, known, lambda call: call.replica or "unknown")
    expected = {key: nearest_rank((getattr(call, quantity) for call in group), 0.95) for key, group in by_replica.items()}
    assert within(expected) == series(shown, f"{title} p95 by replica", view)


def test_the_quantile_of_the_range_adds_all_sketches(shown: Shown) -> None:
    view = shown.view()
    [row] = shown.rows(shown.source("TTFT p95"), view)
    known = [
        call.ttft_seconds for call in calls_in(shown, view) if call.outcome is Outcome.OK and call.ttft_seconds is not None
    ]
    assert within(nearest_rank(known, 0.95)) == row["p95"]


def test_a_sketch_of_another_version_is_not_added(shown: Shown) -> None:
    shown.connection.execute("UPDATE rollup_minute SET sketch_version = 2 WHERE model_id = 3")
    assert {"tiny"} == {label for _, label in series(shown, "TTFT by model", shown.view(), "p50")}


@pytest.mark.parametrize("place", ["all", "one tenant", "two tenants and a model", "one model"])
def test_tokens_and_hit_rates_come_from_sums_of_tokens(shown: Shown, place: str) -> None:
    view = shown.view(**PLACES[place])
    groups = slots(shown, view, calls_in(shown, view), lambda call: call.tenant)
    rates = {
        key: (sum(c.input_tokens for c in group), sum(c.output_tokens for c in group), seconds_of(shown, view, key[0]))
        for key, group in groups.items()
    }
    prompt = {key: given / seconds for key, (given, _, seconds) in rates.items()}
    generated = {key: made / seconds for key, (_, made, seconds) in rates.items()}
    assert prompt == pytest.approx(series(shown, "Prompt tokens by tenant", view))
    assert generated == pytest.approx(series(shown, "Generated tokens by tenant", view))
    hits = {key: rate for key, group in groups.items() if (rate := _hit_rate(group)) is not None}
    assert hits == pytest.approx(series(shown, "Cache-hit rate by tenant", view))


def test_the_hit_rate_by_model_counts_only_calls_that_say_what_was_cached(shown: Shown) -> None:
    view = shown.view()
    groups = slots(shown, view, calls_in(shown, view), lambda call: call.model)
    hits = {key: rate for key, group in groups.items() if (rate := _hit_rate(group)) is not None}
    assert hits == pytest.approx(series(shown, "Cache-hit rate by model", view))


def test_who_is_hurt_names_tenants_and_models_with_failures_of_ours(shown: Shown) -> None:
    view = shown.view(model=["large"])
    judged: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls_in(shown, view):
        if call.outcome in JUDGED:
            judged[call.tenant, call.model].append(call)
    failed = {key: weight(call for call in group if call.outcome in OUR_FAULT) for key, group in judged.items()}
    expected = [
        (*key, failed[key], weight(group), failed[key] / weight(group)) for key, group in judged.items() if failed[key] > 0
    ]
    expected.sort(key=lambda row: (-row[2], row[0], row[1]))
    assert expected == [tuple(row.values()) for row in shown.rows(shown.source("Who is hurt"), view)]
    [count] = shown.rows(shown.source("Tenants hurt"), view)
    assert len({row[0] for row in expected}) == count["tenants"]


def test_failures_by_replica_name_those_that_reached_none(shown: Shown) -> None:
    view = shown.view()
    failed = [call for call in calls_in(shown, view) if call.outcome in OUR_FAULT]
    expected = {
        key: weight(group) / seconds_of(shown, view, key[0])
        for key, group in slots(shown, view, failed, lambda call: call.replica or "unknown").items()
    }
    assert any(label == "unknown" for _, label in expected)
    assert expected == pytest.approx(series(shown, "Failed by us, by replica", view))


def _hit_rate(group: Iterable[Call]) -> float | None:
    known = [call for call in group if call.cached_tokens is not None]
    looked_up = sum(call.input_tokens for call in known)
    return sum(call.cached_tokens or 0 for call in known) / looked_up if looked_up else None
