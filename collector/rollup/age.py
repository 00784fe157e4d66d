"""Pure: what is still there to make a rollup of, and since when an hour or a day is over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from collector.config import Retention

HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
MINUTE = timedelta(minutes=1)

GRACE = timedelta(minutes=1)
"""How long after its end an hour or a day is left alone: the last rows of it are still on their way."""

SKETCH_AGE = timedelta(hours=26)
"""How long the sketches of tenants are kept by minute: a spool replays what is up to 24 hours old. What comes later than that
makes the sketches of its hour anew, from rows."""


class Step(IntEnum):
    """What a fold mark asks for. The integers are stored."""

    TENANTS = 1
    """The sketches of a minute's tenants, from rows."""
    HOUR = 2
    DAY = 3


SETTLE = {Step.TENANTS: timedelta(0), Step.HOUR: timedelta(minutes=1), Step.DAY: timedelta(minutes=5)}
"""How long a mark waits for more of them: late rows and what engines tell come in bursts, and a day costs a second to make."""

LENGTH = {Step.TENANTS: MINUTE, Step.HOUR: HOUR, Step.DAY: DAY}


class Kept(NamedTuple):
    """What is there at a time, as retention keeps it."""

    now: datetime
    retention: Retention

    @property
    def minutes_since(self) -> datetime:
        """Hours from here on have all their minutes. An hour more than retention drops, whose clock may be another."""
        return self.now - timedelta(days=self.retention.rollup_minute_days) + HOUR

    @property
    def sketches_until(self) -> datetime:
        """Sketches of tenants by minute go that are older than this."""
        return hour_of(self.now) - SKETCH_AGE

    @property
    def sketches_since(self) -> datetime:
        """Hours from here on have the sketches of all their tenants by minute."""
        return self.sketches_until + HOUR

    def has_rows(self, start: datetime) -> bool:
        """Whether the rows of a minute or hour are there, and will be while something is made of them."""
        return start.astimezone(UTC).date() > self._first_day(self.retention.requests_days)

    def has_engine_rows(self, start: datetime) -> bool:
        """As ``has_rows``, of rows that engines observed."""
        return start.astimezone(UTC).date() > self._first_day(self.retention.engine_requests_days)

    def over(self, step: Step) -> datetime:
        """What a step is about is over where it starts here or earlier."""
        if step is Step.TENANTS:
            # Once, when the hour is over, and not each time that a row of the running minute comes.
            return hour_of(self.now - GRACE) - MINUTE
        return self.now - GRACE - LENGTH[step]

    def _first_day(self, days: int) -> date:
        # The partition of this day is the next to be dropped.
        return (self.now.astimezone(UTC) - timedelta(days=days)).date()


def hour_of(time: datetime) -> datetime:
    """The start of the hour (UTC) that a time lies in."""
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(time: datetime) -> datetime:
    """The start of the day (UTC) that a time lies in."""
    return hour_of(time).replace(hour=0)


def minutes_of(hour: datetime) -> list[datetime]:
    """The starts of the minutes of an hour."""
    return [hour + number * MINUTE for number in range(60)]
