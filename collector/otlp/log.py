"""Log records of engines: what the decoders make of them, and what the receivers hand on. No text is left in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from collector.death import Mark, read_lines
from collector.errors import BodyTooLarge
from collector.otlp.allow import Receipt
from collector.otlp.check import check_time
from collector.request import Reject
from collector.span import Attributes, Value

MOST_RECORDS = 50_000
"""Log records of one body: a hundred times what shippers send."""
LONGEST_BODY = 2**20
"""Characters of one record's text that are looked at."""
UNKNOWN = "unknown"


class LogKeys(NamedTuple):
    """The resource attributes that name the replica and the model; the first that is present wins. No other is read."""

    replica: tuple[str, ...]
    model: tuple[str, ...]

    @property
    def all(self) -> frozenset[str]:
        """Both together."""
        return frozenset((*self.replica, *self.model))


class Source(NamedTuple):
    """Whose log it is."""

    replica: str
    model: str | None


class DecodedLogs(NamedTuple):
    """One body."""

    marks: dict[Source, list[Mark]]
    """What records say of deaths, by source, in the order of the body."""
    facts: int
    """Records that say something."""
    ignored: int
    """Records that say nothing, whose text is gone."""
    rejects: list[Reject]
    """One for each malformed record."""


TakeLogs = Callable[[DecodedLogs], Awaitable[Receipt]]
"""The next stage. Returns once every event is committed; raises Overloaded where nothing was taken."""


class LogReader:
    """Reads one body's records, one after the other, and keeps no text of them. ``now`` is when the body came."""

    def __init__(self, keys: LogKeys, now: datetime) -> None:
        self.keys = keys
        self.rejects: list[Reject] = []
        self._now = now
        self._marks: dict[Source, list[Mark]] = {}
        self._facts = self._ignored = 0

    def read(self, source: Source, text: str, time_ns: int, observed_ns: int, severity: int) -> None:
        """Take one record. Times are nanoseconds since the epoch, 0 where they are not given.

        :raises MalformedSpan: for a time that no clock can have said
        """
        at = self._time(check_time("time_unix_nano", time_ns), check_time("observed_time_unix_nano", observed_ns))
        marks = read_lines(text[:LONGEST_BODY], at, severity)
        if marks:
            self._facts += 1
            self._marks.setdefault(source, []).extend(marks)
        else:
            self._ignored += 1

    def _time(self, time_ns: int, observed_ns: int) -> datetime:
        """Nothing is logged after it came: a clock that is ahead must not date a death into the future."""
        microseconds = (time_ns or observed_ns) // 1000
        return (
            min(self._now, datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)) if microseconds else self._now
        )

    def decoded(self) -> DecodedLogs:
        """What was read."""
        return DecodedLogs(self._marks, self._facts, self._ignored, self.rejects)


def check_record_count(records: int) -> None:
    """Refuse a body of too many records.

    :raises BodyTooLarge: naming the limit
    """
    if records > MOST_RECORDS:
        raise BodyTooLarge(f"the body holds {records} log records: expected at most {MOST_RECORDS}")


def source_of(resource: Attributes, keys: LogKeys) -> Source:
    """Whose log a resource's records are."""
    return Source(_first(resource, keys.replica) or UNKNOWN, _first(resource, keys.model))


def _first(resource: Attributes, names: Sequence[str]) -> str | None:
    values: list[Value] = [resource[name] for name in names if name in resource]
    return str(values[0]) if values and isinstance(values[0], str | int) and str(values[0]) else None
