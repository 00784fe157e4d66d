from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.burn import (
    FASTEST,
    HOLD_SECONDS,
    QUIET_SECONDS,
    RULES,
    SPAN_SECONDS,
    WINDOWS,
    Counts,
    Tally,
    breach,
    onset,
    recovered,
    spent,
)

START = 1_700_000_000
HALF_PERCENT = Fraction(5, 1000)
ONE_PER_MILLE = Fraction(1, 1000)


def steady(seconds: int, good: int, bad: int = 0, *, until: int = START) -> list[tuple[int, int, int]]:
    """The same verdicts in each of so many seconds, the last of which is ``until``."""
    return [(second, good, bad) for second in range(until - seconds + 1, until + 1)]


def counts_of(*parts: list[tuple[int, int, int]], now: int = START) -> Counts:
    counts = Counts(now)
    for part in parts:
        for second, good, bad in part:
            counts.add(second, good, bad)
    return counts


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 2, 59, 299, 300, 301, 1799, 3600, 3601, 21_599, 21_600, 40_000])),
        st.tuples(
            st.just("count"),
            st.sampled_from([-40_000, -21_600, -21_599, -3600, -3599, -1800, -300, -299, -1, 0, 1, 5, 3600]),
            st.integers(0, 5),
            st.integers(0, 5),
        ),
    ),
    max_size=40,
)


@given(STEPS)
def test_windows_equal_a_brute_force_over_all_verdicts(steps: list[tuple[object, ...]]) -> None:
    counts, now, told = Counts(START), START, []
    for step in steps:
        if step[0] == "wait":
            now += int(str(step[1]))
            counts.advance(now)
        else:
            second, good, bad = now + int(str(step[1])), int(str(step[2])), int(str(step[3]))
            counts.add(second, good, bad)
            told.append((second, good, bad))
        for window in WINDOWS:
            inside = [(good, bad) for second, good, bad in told if now - window < second <= now]
            assert Tally(sum(good for good, _ in inside), sum(bad for _, bad in inside)) == counts.window(window)
        goods, bads = counts.seconds(now - 300)
        assert [sum(good for second, good, _ in told if second == at) for at in range(now - 300, now + 1)] == goods
        assert [sum(bad for second, _, bad in told if second == at) for at in range(now - 300, now + 1)] == bads


def test_a_clock_that_goes_back_changes_nothing() -> None:
    counts = counts_of(steady(300, 1, 1))
    counts.advance(START - 100)

    assert Tally(300, 300) == counts.window(300)


@pytest.mark.parametrize(
    ("good", "bad", "budget", "burn"),
    [
        (999, 1, ONE_PER_MILLE, 1.0),  # the workbook: an error rate equal to the budget burns at 1
        (9856, 144, ONE_PER_MILLE, 14.4),
        (0, 10, ONE_PER_MILLE, 1000.0),  # a total outage
        (10, 0, ONE_PER_MILLE, 0.0),
        (0, 0, ONE_PER_MILLE, 0.0),
    ],
)
def test_burn_is_the_failed_share_over_the_budget(good: int, bad: int, budget: Fraction, burn: float) -> None:
    assert burn == Tally(good, bad).burn(budget)


def test_a_burn_exactly_at_the_limit_counts() -> None:
    assert Tally(9856, 144).burns(FASTEST, ONE_PER_MILLE)
    assert not Tally(9857, 143).burns(FASTEST, ONE_PER_MILLE)
    assert not Tally(0, 0).burns(FASTEST, ONE_PER_MILLE)


def test_a_total_outage_after_a_healthy_hour_breaches_after_52_seconds_at_99_9() -> None:
    # The workbook: 14.4 over an hour is 1.44 % of it, 51.84 s.
    def outage_of(seconds: int) -> Counts:
        return counts_of(steady(SPAN_SECONDS - seconds, 5, until=START - seconds), steady(seconds, 0, 5))

    assert breach(outage_of(51), ONE_PER_MILLE, 4) is None
    found = breach(outage_of(52), ONE_PER_MILLE, 4)
    assert found is not None
    assert (RULES[0], True, 260) == found


def test_a_slow_burn_breaches_by_the_long_rule_only() -> None:
    # 1 % of failures at 99.9 %: a burn of 10, below 14.4 and above 6.
    found = breach(counts_of(steady(SPAN_SECONDS, 99, 1)), ONE_PER_MILLE, 4)

    assert found is not None
    assert RULES[1] == found.rule


def test_failures_within_the_objective_breach_nothing() -> None:
    assert breach(counts_of(steady(SPAN_SECONDS, 999, 1)), ONE_PER_MILLE, 4) is None


def test_an_outage_that_ended_before_the_short_windows_breaches_nothing() -> None:
    counts = counts_of(steady(600, 0, 5, until=START - 1900), steady(1900, 5))

    assert breach(counts, ONE_PER_MILLE, 4) is None


def test_fewer_failures_than_the_minimum_are_not_confirmed() -> None:
    counts = counts_of([(START - 60, 0, 1), (START - 30, 0, 1), (START, 0, 1)])

    found = breach(counts, HALF_PERCENT, 4)
    assert found is not None
    assert not found.confirmed
    assert breach(counts, HALF_PERCENT, 3) == (RULES[0], True, 3)


def test_one_burst_of_failures_is_not_confirmed_until_they_are_10_seconds_apart() -> None:
    burst = breach(counts_of([(START - 9, 0, 50), (START, 0, 50)]), HALF_PERCENT, 4)
    longer = breach(counts_of([(START - 10, 0, 50), (START, 0, 50)]), HALF_PERCENT, 4)

    assert burst is not None
    assert longer is not None
    assert [False, True] == [burst.confirmed, longer.confirmed]


def test_late_failures_count_in_their_own_second() -> None:
    counts = counts_of(steady(3600, 1))
    counts.advance(START + 400)
    for second in range(START - 60, START):
        counts.add(second, 0, 20)

    # They lie within the hour and outside the last 5 minutes.
    assert Tally(3200, 1200) == counts.window(3600)
    assert Tally(0, 0) == counts.window(300)


def test_forgiven_failures_are_not_held_against_the_stream_again() -> None:
    counts = counts_of(steady(600, 0, 5, until=START - 60), steady(60, 5))

    assert breach(counts, HALF_PERCENT, 4) is not None
    assert breach(counts, HALF_PERCENT, 4, forgiven=START - 60) is None


def test_failures_after_the_forgiven_ones_breach_again() -> None:
    counts = counts_of(steady(600, 0, 5, until=START - 120), steady(60, 5, until=START - 60), steady(60, 0, 5), now=START)

    found = breach(counts, HALF_PERCENT, 4, forgiven=START - 120)
    assert found is not None
    assert (True, 300) == (found.confirmed, found.failures)


def test_the_onset_is_the_start_of_the_outage_and_not_an_earlier_single_failure() -> None:
    counts = counts_of(steady(7000, 5, until=START - 45), [(START - 3000, 0, 1)], steady(45, 0, 5))

    assert START - 44 == onset(counts, HALF_PERCENT)


def test_without_failures_there_is_no_onset() -> None:
    assert onset(counts_of(steady(300, 5)), HALF_PERCENT) is None


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param([steady(60, 0, 5, until=START)], False, id="still failing"),
        pytest.param([steady(60, 0, 5, until=START - 5), steady(5, 5)], False, id="25 good requests prove too little"),
        pytest.param([steady(60, 0, 5, until=START - 20), steady(20, 5)], True, id="100 good requests rule the burn out"),
        pytest.param([steady(60, 0, 5, until=START - 1000)], False, id="failures and then nothing"),
        pytest.param(
            [steady(60, 0, 5, until=START - 400), steady(100, 5, until=START - 300)], None, id="good, and then nothing comes"
        ),
        pytest.param([[(START - QUIET_SECONDS, 0, 50), (START - 900, 1, 0)]], True, id="long without a failure, one served"),
        pytest.param([[(START - QUIET_SECONDS, 0, 50)]], None, id="long without anything"),
        pytest.param(
            [steady(1600, 5, until=START - 60), steady(60, 4, 1)], False, id="a good past outvotes no failures of now"
        ),
        pytest.param([steady(1800, 2000, 1)], True, id="failures within the objective at high traffic"),
    ],
)
def test_recovery_is_told_from_requests_since_the_failures(
    parts: list[list[tuple[int, int, int]]], expected: bool | None
) -> None:
    assert expected is recovered(counts_of(*parts), HALF_PERCENT, FASTEST)


def test_a_slow_burn_takes_more_good_requests_to_rule_out_than_a_fast_one() -> None:
    counts = counts_of(steady(60, 0, 5, until=START - 20), steady(20, 5))

    assert recovered(counts, HALF_PERCENT, Fraction(14))
    assert not recovered(counts, HALF_PERCENT, Fraction(6))


def test_spent_budget_is_the_failed_share_of_the_period_over_the_budget() -> None:
    assert 0.5 == spent(Tally(9975, 25), HALF_PERCENT)
    assert 2.0 == spent(Tally(990, 10), HALF_PERCENT)
    assert 0.0 == spent(Tally(0, 0), HALF_PERCENT)


def test_30_minutes_without_a_failure_include_the_time_for_which_a_recovery_must_hold() -> None:
    assert 1800 == QUIET_SECONDS + HOLD_SECONDS
