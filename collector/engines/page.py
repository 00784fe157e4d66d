"""One engine's page of samples, by name: what every engine's reader starts from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from collector.exposition import is_count
from collector.metrics import Family, Kind, Source
from collector.sample import Histogram, Sample

Select = Callable[[Sample], bool]


class Engine(NamedTuple):
    """Which engine of a page: its ``engine`` label and the model it serves, each empty where the page does not say."""

    label: str
    model: str


class Page:
    """The samples of one scrape, by name without the engine's prefix."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_name: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_name[sample.name].append(sample)

    @property
    def names(self) -> frozenset[str]:
        """Every name of the page."""
        return frozenset(self._by_name)

    def values(self, family: Family, sources: Iterable[Source], of: Select) -> float | None:
        """The value of a gauge or counter: the first source that is present, summed over labels that nobody selects by."""
        for source in sources:
            for name in _spellings(family, source):
                found = [sample.value for sample in self._by_name.get(name, ()) if _selected(sample, source) and of(sample)]
                if found:
                    return sum(found)
        return None

    def histogram(self, sources: Iterable[Source], of: Select) -> Histogram | None:
        """Cumulative counts by the edges that the page has; ``None`` where there is none, or where it makes no sense."""
        for source in sources:
            for name in (source.name, f"{source.name}_total"):
                buckets: dict[float, float] = defaultdict(float)
                for sample in self._by_name.get(f"{name}_bucket", ()):
                    if of(sample) and _selected(sample, source):
                        buckets[_edge(sample)] += sample.value
                if buckets:
                    total = sum(sample.value for sample in self._by_name.get(f"{name}_sum", ()) if of(sample))
                    return _histogram(buckets, total)
        return None

    def time(self, name: str, of: Select) -> datetime | None:
        """The earliest of some Unix times."""
        found = [sample.value for sample in self._by_name.get(name, ()) if of(sample) and is_count(sample.value)]
        return datetime.fromtimestamp(min(found), UTC) if found else None


def _spellings(family: Family, source: Source) -> tuple[str, ...]:
    """Counters are written with and without ``_total``."""
    return (f"{source.name}_total", source.name) if family.kind is Kind.COUNTER else (source.name,)


def _selected(sample: Sample, source: Source) -> bool:
    return not source.label or sample.labels.get(source.label) == source.value


def _edge(sample: Sample) -> float:
    try:
        return float(sample.labels["le"])
    except (KeyError, ValueError):
        return float("nan")


def _histogram(buckets: Mapping[float, float], total: float) -> Histogram | None:
    """Counts that fall, negative ones and edges that are no numbers would make nonsense of every quantile."""
    edges = sorted(buckets)
    counts = [buckets[edge] for edge in edges]
    if any(edge != edge for edge in edges) or not all(map(is_count, counts)) or counts != sorted(counts) or total != total:
        return None
    if edges[-1] != float("inf"):
        return None
    return Histogram(tuple(edges), tuple(int(count) for count in counts), total)
