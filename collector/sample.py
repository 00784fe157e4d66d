"""Samples of one scrape, and the Snapshot: what one scrape of one engine said, in our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from collector.metrics import Family


class Sample(NamedTuple):
    """One value of one metric, as the engine wrote it."""

    name: str
    labels: Mapping[str, str]
    value: float


class Histogram(NamedTuple):
    """Cumulative bucket counts with their upper edges; the last edge is +Inf. Edges are read from the data, never assumed."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Health(IntEnum):
    """What the health endpoint said last. The integers are stored."""

    UNKNOWN = 0
    READY = 1
    """200."""
    FAILING = 2
    """An answer that is not 200: the process is there and its engine is not."""
    UNREACHABLE = 3
    """No answer: refused, reset, or slower than the timeout."""
    GONE = 4
    """No target any more: nobody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one scrape of one engine said. ``values`` holds gauges, and counters as the engine's raw value.

    ``histograms`` is empty but for one scrape a minute. ``engine`` is the engine's index label, "" where there is none.
    """

    scraped_at: datetime
    replica: str
    engine: str
    model: str
    values: Mapping[Family, float]
    histograms: Mapping[Family, Histogram]
    role: str | None = None
    """prefill or decode, where the engine says that it does one of them."""
    config: Mapping[str, str] = field(default_factory=dict)
    """What the engine says that it is configured with, where it does."""
    process_started_at: datetime | None = None
    scrape_seconds: float = 0.0
