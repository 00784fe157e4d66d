from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Alert, Condition, State
from alerts.burn import Counts, Tally
from alerts.detect import (
    CLUSTERING_UNKNOWN,
    MONTH_SECONDS,
    Past,
    Premise,
    Scan,
    clustering,
    detect,
    judge,
    premise,
)
from tests.alerts.test_watch import moment

START = 1_700_000_000
BUDGET = Fraction(1, 1000)


def past(rate: float, phi: float = 1.0) -> Past:
    return Past({MONTH_SECONDS: Tally(round(rate * MONTH_SECONDS), 0)}, START - MONTH_SECONDS, phi)


def by(rate: float, phi: float = 1.0) -> Premise:
    return premise(BUDGET, 4, past(rate, phi), 1, START)


def seen_after(seconds: int, per_second: int, premise: Premise, healthy: int = 3600) -> bool:
    """Whether the fast rule speaks so long into a total outage."""
    scan = Scan(BUDGET)
    scan.step(START - healthy, healthy * per_second, 0, premise.clustering)
    for second in range(START, START + seconds):
        scan.step(second, 0, per_second, premise.clustering)
    return scan.speaks(premise)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        pytest.param([1] * 1000, 1.0, id="failures that come alone"),
        pytest.param([5] * 1000, 5.0, id="runs of five"),
        pytest.param([1] * 500 + [9] * 500, 8.2, id="E[N²]/E[N] of a mixture"),
    ],
)
def test_clustering_is_that_of_the_runs(runs: list[int], expected: float) -> None:
    # each run in a bin of its own, far from the next
    assert expected == pytest.approx(clustering(sum(n * n for n in runs), 0, sum(runs)), rel=0.05)


def test_independent_failures_have_a_clustering_of_1_however_many_there_are() -> None:
    random = Random(1)
    bins = [sum(random.random() < 0.05 for _ in range(100)) for _ in range(2000)]
    neighbours = sum(one * before for before, one in pairwise(bins))

    assert 1.0 == pytest.approx(clustering(sum(n * n for n in bins), neighbours, sum(bins)), abs=0.1)


def test_what_was_never_seen_is_taken_to_be_clustered_and_outages_do_not_blind() -> None:
    assert [CLUSTERING_UNKNOWN, 20.0] == [clustering(0, 0, 0), clustering(1e9, 0, 1e4)]


def test_a_total_outage_is_seen_once_half_a_per_cent_of_the_budget_is_gone() -> None:
    # 5 requests a second, 99.9 %: 0.5 % of 30 days' budget is 64.8 failures, the 65th of them in the 13th second
    assert [False, True] == [seen_after(seconds, 5, by(5)) for seconds in (12, 13)]


def test_where_half_a_per_cent_of_the_budget_is_few_failures_the_fast_rule_is_off() -> None:
    assert [math.inf, False] == [by(2.3).gate, seen_after(600, 2, by(2.3))]
    assert by(2.4).gate < math.inf


def test_a_burst_of_less_than_10_seconds_is_not_seen_whatever_its_size() -> None:
    assert [False, True] == [seen_after(seconds, 500, by(50)) for seconds in (10, 11)]


def test_where_failures_cluster_more_of_them_are_asked_for_but_an_outage_is_never_longer_unseen_than_5_minutes() -> None:
    assert [4, 15, 30, 30] == [by(rate, 5.0).min_failures for rate in (0.001, 0.05, 0.5, 50)]
    assert [4, 6] == [by(rate).min_failures for rate in (0.01, 50)]


def test_failures_within_the_tolerated_burn_are_not_seen() -> None:
    random, scan, premise = Random(2), Scan(BUDGET), by(50)
    for second in range(START, START + 36_000):
        bad = sum(random.random() < 0.002 for _ in range(50))
        scan.step(second, 50 - bad, bad, premise.clustering)
        assert not scan.speaks(premise)


def test_good_requests_end_the_change_and_its_failures() -> None:
    scan = Scan(BUDGET)
    scan.step(START, 0, 3, 1.0)
    kept = scan.failures
    scan.step(START + 1, 1000, 0, 1.0)

    assert (3, 0, None) == (kept, scan.failures, scan.first)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=60), st.sampled_from([1.0, 5.0]))
def test_the_statistic_is_that_of_the_recursion_request_by_request(seconds: list[tuple[int, int]], phi: float) -> None:
    scan = Scan(BUDGET)
    tolerated = 0.003
    expected = dict.fromkeys((0.006, 0.0144, 0.05, 0.2, 0.5, 0.9), 0.0)
    for at, (good, bad) in enumerate(seconds):
        scan.step(START + at, good, bad, phi)
        for share in expected:
            for failed in (False,) * good + (True,) * bad:
                ratio = share / tolerated if failed else (1 - share) / (1 - tolerated)
                expected[share] = min(1e30, (expected[share] + 1) * ratio ** (1 / phi))

    assert sum(expected.values()) / 6 == pytest.approx(scan.statistic, rel=1e-6)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.integers(0, 3))
def test_good_seconds_may_be_taken_together(goods: list[int], bad: int) -> None:
    one, all_ = Scan(BUDGET), Scan(BUDGET)
    for scan in (one, all_):
        scan.step(START, 0, bad, 1.0)
    for at, good in enumerate(goods, 1):
        one.step(START + at, good, 0, 1.0)
    all_.step(START + len(goods), sum(goods), 0, 1.0)

    assert (pytest.approx(all_.statistic, rel=1e-9), all_.failures) == (one.statistic, one.failures)


def test_a_stream_that_is_young_is_taken_to_be_an_hour_old() -> None:
    young = Past({MONTH_SECONDS: Tally(3600, 0)}, START - 60)

    assert [1.0, 0.0] == [young.rate(START), Past().rate(START)]


def test_the_windows_are_named_where_they_burn_and_else_the_fast_rule() -> None:
    counts, scan, premise = Counts(START), Scan(BUDGET), by(5)
    for second in range(START - 21_599, START - 19):
        counts.add(second, 5, 0)
    for second in range(START - 19, START + 1):
        counts.add(second, 0, 5)
        scan.step(second, 0, 5, 1.0)
    early = detect(counts, scan, premise)
    for second in range(START + 1, START + 60):
        counts.advance(second)
        counts.add(second, 0, 5)
        scan.step(second, 0, 5, 1.0)
    late = detect(counts, scan, premise)

    assert early is not None
    assert late is not None
    assert (None, 100, 19) == early
    assert (3600, 0) == (late.breach and late.breach.rule.long_seconds, late.span_seconds)


def test_what_was_resolved_is_forgotten_by_the_fast_rule() -> None:
    counts, scan, premise = Counts(START), Scan(BUDGET), by(5)
    for second in range(START - 3600, START - 19):
        counts.add(second, 5, 0)
    for second in range(START - 19, START + 1):
        counts.add(second, 0, 5)
        scan.step(second, 0, 5, 1.0)
    ended = Alert(labels={}, since=moment(START), state=State.RESOLVED, starts_at=moment(START - 9), ends_at=moment(START))

    assert Condition.BREACH is judge(counts, scan, premise, None).condition
    assert Condition.CLEAR is judge(counts, scan, premise, ended).condition
    assert not scan.speaks(premise)


def test_the_end_of_an_alert_long_ago_does_not_take_away_what_is_seen_now() -> None:
    """Whoever takes over has seen only the last minutes."""
    counts, scan, premise = Counts(START), Scan(BUDGET), by(5)
    for second in range(START - 21_599, START - 19):
        counts.add(second, 5, 0)
    for second in range(START - 19, START + 1):
        counts.add(second, 0, 5)
        scan.step(second, 0, 5, 1.0)
    hours_ago = START - 10_000
    ended = Alert(
        labels={}, since=moment(hours_ago), state=State.RESOLVED, starts_at=moment(hours_ago), ends_at=moment(hours_ago)
    )

    assert Condition.BREACH is judge(counts, scan, premise, ended).condition
