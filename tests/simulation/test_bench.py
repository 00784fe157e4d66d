from __future__ import annotations

from random import Random

import pytest

from alerts.burn import Counts, breach
from tests.simulation import bench
from tests.simulation.bench import PAGE, Delay, Quiet, at_most, flap, page, time_outage, watch_quiet
from tests.simulation.rule import BUDGET
from tests.simulation.trace import BASE_SHARE, Cluster, Pattern, failing, healthy

DAYS = 86_400


def test_good_days_in_which_failures_come_in_runs_wake_nobody_at_5_requests_a_second() -> None:
    quiet = watch_quiet(5.0, Pattern(Cluster.RUNS, blips=True), 1, 3 * DAYS)

    assert 0 == quiet.pages[2]


def test_rare_requests_page_half_as_often_as_prometheus_does() -> None:
    quiet = watch_quiet(0.05, Pattern(Cluster.RUNS), 2)

    assert 0 < quiet.pages[0]
    assert quiet.pages[2] <= quiet.pages[0] / 2


@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_an_outage_is_paged_four_times_as_early_as_by_prometheus(rate: float) -> None:
    delay = time_outage(rate, 1.0, repeats=3)

    assert (0, 0, 0, 0) == delay.missed
    assert delay.medians[3] <= delay.medians[0] / 4


def test_a_stream_that_flaps_is_told_twice_and_then_no_more() -> None:
    told = flap(hours=1)[2]

    assert [False, True] == [one.again for one in told]


def test_the_windows_of_a_trace_are_those_that_the_alerter_counts() -> None:
    trace = failing(healthy(5.0, 7200, Pattern(Cluster.RUNS), Random(1)), 7140, 0.5, Random(2))
    counts = Counts(7199)
    for second in range(7200):
        counts.add(second, trace.good[second], trace.bad[second])
    trace.now = 7199

    assert [counts.window(seconds) for seconds in (300, 1800, 3600, 21_600)] == [
        trace.window(seconds) for seconds in (300, 1800, 3600, 21_600)
    ]
    assert (counts.last_bad, counts.last_seen) == (trace.last_bad, trace.last_seen)
    assert breach(counts, BUDGET, 4) == breach(trace, BUDGET, 4)


def test_traffic_is_as_much_as_it_says() -> None:
    for rate, seconds in ((0.5, 20 * DAYS), (5.0, 2 * DAYS), (500.0, DAYS // 2)):
        trace = healthy(rate, seconds, Pattern(Cluster.RUNS), Random(3))
        tally = trace.between(-1, seconds - 1)
        assert rate * seconds == pytest.approx(tally.good, rel=0.02)
        assert rate * seconds * BASE_SHARE == pytest.approx(tally.bad, rel=0.25)


def test_the_bound_of_nothing_seen_is_three_in_all() -> None:
    assert [3.0, 7.75] == [round(at_most(count, 1), 2) for count in (0, 3)]


def test_the_page_holds_every_row() -> None:
    quiet = Quiet(5.0, Pattern(), 3, (3, 0, 0), (3, 0, 0), 1.0)
    text = page([quiet], [Delay(5.0, 1.0, (72.0, 51.0, 13.0, 13.0), (88.0, 53.0, 14.0, 14.0), (0,) * 4)], [[], [], []])

    assert "| 5 | independent | 3 | 1.0 | 1 (< 2.6) | 0 (< 1) | 0 (< 1) |" in text
    assert "| total outage | 5 | 72 / 88 | 51 / 53 | 13 / 14 | 13 / 14 |" in text
    assert "{" not in text


def test_the_page_that_is_kept_says_what_was_simulated() -> None:
    kept = PAGE.read_text()

    for rate, months in bench.MONTHS.items():
        for pattern in bench.PATTERNS:
            assert f"| {rate:g} | {pattern.name} | {months} |" in kept
