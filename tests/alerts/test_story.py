from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.burn import Tally
from alerts.story import Comparison, Pressure, Share, Story, Volume, breakdown, exhaustion, signs, span, stands_out
from collector.event import Change, ChangeKind

NOW = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)
STORY = Story(NOW - timedelta(minutes=5), NOW, requests=1000, failed=100)
NOTHING = Volume(0, 0, 0, 0)


def test_what_has_most_failures_and_few_requests_stands_out() -> None:
    shares = [
        Share("model", "llama", 1000, 100),
        Share("replica", "vllm-1", 125, 95),
        Share("tenant", "acme", 600, 61),
        Share("prompts", "of 32,768 tokens or more", 300, 80),
    ]

    assert shares[1] == stands_out(shares, 1000, 100)


@pytest.mark.parametrize(
    "share",
    [
        Share("model", "the only one", 1000, 100),
        Share("tenant", "sends most, fails as the others", 600, 61),
        Share("replica", "more than its share, and less than half", 125, 45),
    ],
    ids=lambda share: share.value,
)
def test_what_explains_nothing_does_not_stand_out(share: Share) -> None:
    assert stands_out([share], 1000, 100) is None
    assert "No model, replica, tenant or prompt length stands out among the failures." == breakdown(
        STORY._replace(shares=[share])
    )


def test_chance_does_not_stand_out() -> None:
    # Two failures of two on one of two replicas: one time in four.
    assert stands_out([Share("replica", "vllm-0", 500, 2)], 1000, 2) is None
    assert breakdown(STORY._replace(failed=2, shares=[Share("replica", "vllm-0", 500, 2)])) == ""


def test_a_change_is_the_first_suspect_and_says_how_far_apart_it_was() -> None:
    change = Change(at=NOW - timedelta(minutes=4), kind=ChangeKind.DEPLOY, source="argo", model="llama")
    late = Change(at=NOW + timedelta(minutes=3), kind=ChangeKind.CONFIG, source="argo", model="llama")
    full = Pressure("vllm-0", 0.97, 31.0, 12.0)

    assert [
        "deploy of llama (argo) at 03:08:07 UTC, 4 min before it began",
        "vllm-0 is short of KV cache: KV cache 97% full, 12 preemptions, 31 requests waiting; 1 more as well",
    ] == signs(
        STORY._replace(changes=[change, late], pressures=[full, Pressure("vllm-1", 0.5, 0.0, 1.0), Pressure("b", 0.9, 0, 0)]),
        NOW,
    )


@pytest.mark.parametrize(
    ("now", "before", "tenant_now", "tenant_before", "expected"),
    [
        # 60 a minute of 100, 3 before
        (500, 2580, 300, 180, ["tenant acme sends 60 requests a minute, 3 in the hour before"]),
        # Everybody sends more, this one no more than the others.
        (5000, 3000, 300, 180, []),
        (500, 6000, 300, 3600, []),
    ],
)
def test_a_burst_is_that_of_one_tenant(now: int, before: int, tenant_now: int, tenant_before: int, expected: list[str]) -> None:
    volumes = Volume(5, now, 0, 0), Volume(60, before, 0, 0), Volume(5, tenant_now, 0, 0), Volume(60, tenant_before, 0, 0)

    assert expected == signs(STORY._replace(comparison=Comparison("acme", *volumes)), NOW)


@pytest.mark.parametrize(
    ("cached", "cacheable", "minutes", "expected"),
    [
        (5_000, 50_000, 60, ["cache hits fell to 10%, from 80% in the hour before"]),
        (35_000, 50_000, 60, []),
        (0, 5_000, 60, []),
        (5_000, 50_000, 10, []),
    ],
)
def test_a_lost_cache_is_told_where_enough_is_known(cached: int, cacheable: int, minutes: int, expected: list[str]) -> None:
    now, before = Volume(5, 100, cached, cacheable), Volume(minutes, 1200, 480_000, 600_000)

    assert expected == signs(STORY._replace(comparison=Comparison(None, now, before, NOTHING, NOTHING)), NOW)


def test_a_budget_lasts_as_long_as_what_is_left_of_it_at_the_present_rate() -> None:
    # 1,000,000 requests, 0.5 % may fail: 5,000, of which 2,000 are gone. 300 of 1,500 fail in 5 min, 7.5 of them allowed.
    found = exhaustion(Tally(998_000, 2_000), Tally(1_200, 300), 300, 0.005)

    assert found is not None
    assert timedelta(seconds=3000 * 300 / 292.5) == found.expected
    # 300 ± 1.96 × √300 and a little: 267 to 336.
    assert 3000 * 300 / (336.5 - 7.5) < found.soonest.total_seconds() < 3000 * 300 / (335.5 - 7.5)
    assert 3000 * 300 / (267.5 - 7.5) < found.latest.total_seconds() < 3000 * 300 / (266.5 - 7.5)


@pytest.mark.parametrize(
    ("period", "recent"),
    [
        (Tally(1000, 100), Tally(100, 10)),  # overdrawn
        (Tally(100_000, 10), Tally(100, 0)),  # nothing fails
        (Tally(100_000, 10), Tally(999, 6)),  # 5 are allowed, and 6 are no proof of more
    ],
)
def test_without_a_budget_or_a_trend_nothing_is_said_of_its_end(period: Tally, recent: Tally) -> None:
    assert exhaustion(period, recent, 300, 0.005) is None


@given(st.integers(0, 10**7), st.integers(0, 10**5), st.integers(0, 10**5), st.integers(0, 10**5))
def test_the_interval_holds_the_estimate(good: int, bad: int, recent_good: int, recent_bad: int) -> None:
    found = exhaustion(Tally(good, bad), Tally(recent_good, recent_bad), 300, 0.005)

    assert found is None or timedelta(0) < found.soonest <= found.expected <= found.latest


def test_times_are_told_as_a_person_says_them() -> None:
    told = [span(timedelta(seconds=seconds)) for seconds in (0, 119, 120, 7199, 7200, 11_400, 172_799, 172_800, 10**6)]

    assert ["0 s", "119 s", "2 min", "119 min", "2 h", "3 h 10 min", "47 h 59 min", "2 days", "11 days"] == told
