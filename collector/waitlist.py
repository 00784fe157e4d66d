"""What one process knows of the fragments: how full their table is, and which traces it has just added to.

A trace is looked at by whoever added to it last, since only then something can have become whole; one whose collector has died
is closed when it has been quiet for long enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from collector import telemetry
from collector.errors import Overloaded
from collector.fragment import Trace

RETRY_AFTER_SECONDS = 5
MOST_TRACES = 100_000
"""Traces that are remembered; what comes beyond is closed when it has been quiet."""
SETTLE = timedelta(seconds=1)
"""A trace is looked at when nothing was added to it for so long: bodies of one trace often come together."""


class Waitlist:
    """``largest`` is the number of fragments in the table above which nothing more is taken that would wait."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._level = 0
        self._touched: dict[Trace, datetime] = {}

    def admit(self, fragments: int) -> None:
        """Let spans of a body wait.

        :raises Overloaded: when too many wait already, of all collectors
        """
        if fragments and self._level and self._level + fragments > self._largest:
            raise Overloaded(f"{self._level} spans wait for the rest of their request", RETRY_AFTER_SECONDS)
        self._level += fragments

    def leave(self, fragments: int) -> None:
        """Make room: for what was admitted and not kept, and for what was closed."""
        self._level = max(0, self._level - fragments)

    def touch(self, traces: Iterable[Trace], now: datetime) -> None:
        """Remember to look at traces that were added to."""
        for trace in traces:
            self._touched.pop(trace, None)
            if len(self._touched) < MOST_TRACES:
                self._touched[trace] = now

    def due(self, now: datetime, limit: int) -> list[Trace]:
        """Up to ``limit`` traces to look at now, which are forgotten with that."""
        found: list[Trace] = []
        for trace, at in self._touched.items():
            if len(found) == limit or now - at < SETTLE:
                break  # the rest was added to later
            found.append(trace)
        for trace in found:
            del self._touched[trace]
        return found

    def show(self, level: int) -> None:
        """Take note of how many fragments there are."""
        self._level = level
        telemetry.FRAGMENTS.set(level)
