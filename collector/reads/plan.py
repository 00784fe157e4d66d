"""Pure: which levels of the rollups cover a period, each of its moments exactly once, as coarsely as is exact.

A day or an hour that is marked, or holds a minute that is, does not say what its rows say now: it is read from what lies below
it. What begins or ends in the middle of a day, an hour or a minute is read in the same way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Grain(IntEnum):
    """What is read, the finest first."""

    ROW = 0
    MINUTE = 1
    HOUR = 2
    DAY = 3


LENGTH: Mapping[Grain, timedelta] = {
    Grain.MINUTE: timedelta(minutes=1),
    Grain.HOUR: timedelta(hours=1),
    Grain.DAY: timedelta(days=1),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Period(NamedTuple):
    """From ``start`` up to and without ``end``; aware datetimes."""

    start: datetime
    end: datetime


class Piece(NamedTuple):
    """A part of a period, and what it is read from. Starts and ends at whole units of its grain."""

    grain: Grain
    start: datetime
    end: datetime


class NotKept(Exception):
    """A period cannot be answered exactly: what it would take is past retention, or was never kept."""


class Holding(NamedTuple):
    """What there is to read, in one snapshot of the database."""

    since: Mapping[Grain, datetime]
    """From when on each grain is kept; one that is absent cannot tell what is asked."""
    stale: Mapping[Grain, Sequence[datetime]]
    """Starts of the units of each grain that do not say what their rows say, ascending."""

    def is_exact(self, grain: Grain, start: datetime) -> bool:
        """Whether a unit says what its rows say."""
        if start < self.since[grain]:
            return False
        stale = self.stale.get(grain, ())
        place = bisect_left(stale, start)
        return place == len(stale) or stale[place] != start


def cover(period: Period, holding: Holding) -> list[Piece]:
    """The pieces that make up a period, in order; neighbours of one grain are one piece.

    :raises NotKept: naming the part that nothing kept can tell exactly
    """
    return joined(_cover(Grain.DAY, period, holding))


def joined(pieces: Iterator[Piece] | Sequence[Piece]) -> list[Piece]:
    """Pieces in order, those that touch and are of one grain as one."""
    whole: list[Piece] = []
    for piece in pieces:
        if whole and whole[-1].grain is piece.grain and whole[-1].end == piece.start:
            whole[-1] = whole[-1]._replace(end=piece.end)
        else:
            whole.append(piece)
    return whole


def _cover(grain: Grain, period: Period, holding: Holding) -> Iterator[Piece]:
    if period.start >= period.end:
        return
    if grain is Grain.ROW:
        if period.start < holding.since[Grain.ROW]:
            raise NotKept(
                f"what lies between {period.start.isoformat()} and {period.end.isoformat()} is no longer kept that finely"
            )
        yield Piece(grain, *period)
        return
    finer, length = Grain(grain - 1), LENGTH[grain]
    start = _floor(period.start + length - timedelta(microseconds=1), length)
    if grain not in holding.since or start + length > period.end:
        yield from _cover(finer, period, holding)
        return
    rest = period.start
    while start + length <= period.end:
        if holding.is_exact(grain, start):
            yield from _cover(finer, Period(rest, start), holding)
            rest = start + length
            yield Piece(grain, start, rest)
        start += length
    yield from _cover(finer, Period(rest, period.end), holding)


def _floor(time: datetime, length: timedelta) -> datetime:
    return time - (time - _EPOCH) % length


class Unit(StrEnum):
    """Calendar units that a period is cut into."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


def slots(period: Period, unit: Unit, zone: ZoneInfo) -> list[Period]:
    """The period, cut at the starts of hours, days or months as clocks in ``zone`` show them. The first and the last may be
    parts of one; where clocks change, a day has 23 or 25 hours, or whatever the zone says."""
    cut = []
    start = period.start
    while start < period.end:
        end = min(_next(start, unit, zone), period.end)
        cut.append(Period(start, end))
        start = end
    return cut


def _next(time: datetime, unit: Unit, zone: ZoneInfo) -> datetime:
    local = time.astimezone(zone)
    if unit is Unit.HOUR:
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return time.astimezone(UTC) + timedelta(hours=1) - into
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if unit is Unit.DAY:
        following = midnight + timedelta(days=1)
    else:
        following = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    # A midnight that clocks show twice starts the day when they show it first.
    return following.astimezone(UTC)
