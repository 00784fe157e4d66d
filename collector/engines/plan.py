"""A Plan: how pages of one layout become snapshots. It takes numbers by their places and reads no name."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from collector import telemetry
from collector.engines.engine import Engine
from collector.metrics import Family
from collector.sample import Histogram, Snapshot

LARGEST_COUNT = 2.0**53
"""Above it a float no longer tells two counts apart."""
_LATEST_TIME = 1e11
"""A Unix time beyond it, in the year 5138, is no time [s]."""
_NOT_ADDED = ("ratio", "bool")
"""Units whose values are not added: several engines behind one page are as full as the fullest."""


class Number(NamedTuple):
    family: Family
    places: tuple[int, ...]


class Buckets(NamedTuple):
    """A histogram: the places of each edge's counts, and of the sums. Without edges it makes no sense, whatever its numbers."""

    family: Family
    edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    sums: tuple[int, ...]


class Part(NamedTuple):
    """One row: an engine and a model, or what several engines share."""

    label: str
    model: str
    role: str | None
    config: Mapping[str, str]
    numbers: tuple[Number, ...]
    histograms: tuple[Buckets, ...]


class Plan(NamedTuple):
    """How to read pages of one layout."""

    engine: Engine
    parts: tuple[Part, ...]
    starts: tuple[tuple[int, ...], ...]
    families: frozenset[Family]
    """What the page says, or says that it can say: a family without a series yet is declared by its TYPE."""
    unknown: tuple[str, ...]
    """The engine's names that nobody here knows."""

    def snapshots(
        self,
        values: Sequence[float],
        *,
        scraped_at: datetime,
        replica: str,
        model: str | None,
        scrape_seconds: float,
        histograms: bool = True,
    ) -> list[Snapshot]:
        """One snapshot per engine, in the order of their labels, and last what several share.

        ``model`` names the model of pages that do not.
        """
        started_at = self._started_at(values)
        return [
            Snapshot(
                scraped_at=scraped_at,
                replica=replica,
                engine=part.label,
                model=part.model or model or "unknown",
                role=part.role,
                config=part.config,
                values=_values(part.numbers, values),
                histograms=_histograms(part.histograms, values) if histograms else {},
                process_started_at=started_at,
                scrape_seconds=scrape_seconds,
            )
            for part in self.parts
        ]

    def _started_at(self, values: Sequence[float]) -> datetime | None:
        """The earliest time of the first name that has one."""
        for places in self.starts:
            found = [values[place] for place in places if 0 < values[place] < _LATEST_TIME]
            if found:
                return datetime.fromtimestamp(min(found), UTC)
        return None


def _values(numbers: Sequence[Number], values: Sequence[float]) -> dict[Family, float]:
    """Gauges and counters. What is no finite number is unknown, and so is a sum with it."""
    found = {}
    for family, places in numbers:
        if len(places) == 1:
            value = values[places[0]]
        else:
            parts = [values[place] for place in places]
            value = max(filter(math.isfinite, parts), default=math.nan) if family.unit in _NOT_ADDED else sum(parts)
        if math.isfinite(value):
            found[family] = value
    return found


def _histograms(histograms: Sequence[Buckets], values: Sequence[float]) -> dict[Family, Histogram]:
    """Cumulative counts by the edges that the page has. One that makes no sense is left out and counted."""
    found = {}
    for family, edges, places, sums in histograms:
        counts = [values[one[0]] if len(one) == 1 else sum(values[place] for place in one) for one in places]
        total = sum(values[place] for place in sums)
        if counts and math.isfinite(total) and _sound(counts):
            found[family] = Histogram(edges, tuple(map(int, counts)), total)
        else:
            telemetry.HISTOGRAMS_MALFORMED.inc()
    return found


def _sound(counts: Collection[float]) -> bool:
    """Whether counts can be those of a histogram; counts that fall would make nonsense of every quantile."""
    return all(0 <= count <= LARGEST_COUNT for count in counts) and list(counts) == sorted(counts)
