from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collector.moment import bounds, moment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(0, 5 * 10**15))
def test_a_moment_is_exact_to_the_microsecond(microseconds: int) -> None:
    assert _EPOCH + timedelta(microseconds=microseconds) == moment(microseconds)


def test_bounds_are_the_oldest_and_the_newest_end_in_nanoseconds() -> None:
    expected = (9_000_000_000, 13_000_001_000)
    assert expected == bounds(moment(10_000_001), timedelta(seconds=1, microseconds=1), timedelta(seconds=3))
