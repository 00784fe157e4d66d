"""One engine's samples of a page, by name: what every engine's reader starts from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from collector import telemetry
from collector.metrics import FAMILIES, Family, Kind, Source
from collector.sample import Histogram, Sample

LARGEST_COUNT = 2.0**53
"""Above it a float no longer tells two counts apart."""
_LATEST_TIME = 1e11
"""A Unix time beyond it, in the year 5138, is no time [s]."""
_NOT_ADDED = ("ratio", "bool")
"""Units whose values are not added: several engines behind one page are as full as the fullest."""


class Page:
    """The samples of one engine, by name without the engine's prefix."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_name: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_name[sample.name].append(sample)

    def values(self) -> dict[Family, float]:
        """Gauges and counters, each by its first source that is present. A value that is no finite number is unknown."""
        found = {family: self._value(family) for family in FAMILIES if family.kind is not Kind.HISTOGRAM}
        return {family: value for family, value in found.items() if value is not None and math.isfinite(value)}

    def histograms(self) -> dict[Family, Histogram]:
        """Cumulative counts by the edges that the page has. One that makes no sense is left out and counted."""
        found = {family: self._histogram(family.vllm) for family in FAMILIES if family.kind is Kind.HISTOGRAM}
        return {family: histogram for family, histogram in found.items() if histogram is not None}

    def time(self, name: str) -> datetime | None:
        """The earliest of some Unix times."""
        found = [sample.value for sample in self._by_name.get(name, ()) if 0 < sample.value < _LATEST_TIME]
        return datetime.fromtimestamp(min(found), UTC) if found else None

    def _value(self, family: Family) -> float | None:
        """Added over the labels that nobody selects by."""
        for source in family.vllm:
            for name in _spellings(family, source):
                found = [sample.value for sample in self._by_name.get(name, ()) if _selected(sample, source)]
                if found:
                    return max(found) if family.unit in _NOT_ADDED else sum(found)
        return None

    def _histogram(self, sources: Iterable[Source]) -> Histogram | None:
        for source in sources:
            for name in (source.name, f"{source.name}_total"):
                series: dict[frozenset[tuple[str, str]], dict[float, float]] = defaultdict(dict)
                for sample in self._by_name.get(f"{name}_bucket", ()):
                    if _selected(sample, source):
                        rest = frozenset(label for label in sample.labels.items() if label[0] != "le")
                        series[rest][_edge(sample)] = sample.value
                if series:
                    total = sum(sample.value for sample in self._by_name.get(f"{name}_sum", ()) if _selected(sample, source))
                    return _sound(_added(series.values()), total)
        return None


def _spellings(family: Family, source: Source) -> tuple[str, ...]:
    """Counters are written with and without ``_total``."""
    return (f"{source.name}_total", source.name) if family.kind is Kind.COUNTER else (source.name,)


def _selected(sample: Sample, source: Source) -> bool:
    return not source.label or sample.labels.get(source.label) == source.value


def _edge(sample: Sample) -> float:
    try:
        return float(sample.labels["le"])
    except (KeyError, ValueError):
        return math.nan


def _added(series: Collection[Mapping[float, float]]) -> dict[float, float]:
    """Counts by edge over all series; nothing where their edges differ, since such counts do not add up."""
    edges = set(next(iter(series)))
    if any(set(counts) != edges for counts in series):
        return {}
    return {edge: sum(counts[edge] for counts in series) for edge in edges}


def _sound(buckets: Mapping[float, float], total: float) -> Histogram | None:
    """The histogram; ``None`` where it would make nonsense of every quantile: counts that fall, edges that are no numbers."""
    # A NaN among the edges has no place in any order, so sorting is safe only after this look.
    if any(map(math.isnan, buckets)) or math.inf not in buckets or not math.isfinite(total):
        telemetry.HISTOGRAMS_MALFORMED.inc()
        return None
    edges = sorted(buckets)
    counts = [buckets[edge] for edge in edges]
    if not all(0 <= count <= LARGEST_COUNT for count in counts) or counts != sorted(counts):
        telemetry.HISTOGRAMS_MALFORMED.inc()
        return None
    return Histogram(tuple(edges), tuple(int(count) for count in counts), total)
