"""Nanoseconds of a span as times of a row, and which of them are taken. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """The time, ``microseconds`` since 1970. Exact: in our times a float of seconds is to a quarter of a microsecond."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


@lru_cache(maxsize=16)
def bounds(now: datetime, retention: timedelta, clock_skew: timedelta) -> tuple[int, int]:
    """The oldest and the newest end that is taken [ns]: the same for every span of a body."""
    return _nanoseconds(now - retention), _nanoseconds(now + clock_skew)


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
