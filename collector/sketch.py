"""The sketch: a log-bucketed histogram with a promised relative error. Sketches add up.

A value x falls into bucket ⌈log_γ x⌉ with γ = 1.02/0.98, so that every value of a bucket is within 2 % of the bucket's
representative 2γⁱ/(γ+1) (the DDSketch of Masson, Rim and Lee, VLDB 2019). Seconds are clamped to 100 µs … one day;
token counts to at least 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

VERSION = 1
"""Stored beside every sketch: sketches of two versions must not be added."""

RELATIVE_ERROR = 0.02
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
LOG_GAMMA = math.log(GAMMA)
SMALLEST = 1e-4
LARGEST = 1e7
"""Large enough for a day in seconds and for any context length in tokens; the index stays within a smallint."""

Sketch = Mapping[int, int]
"""Bucket index → count."""


def bucket(value: float) -> int:
    """The bucket of a value; values outside SMALLEST … LARGEST are clamped."""
    return math.ceil(math.log(min(max(value, SMALLEST), LARGEST)) / LOG_GAMMA)


def representative(index: int) -> float:
    """The value that stands for a bucket: at most 2 % away from every value in it."""
    return 2 * GAMMA**index / (GAMMA + 1)


def sketch(values: Iterable[float]) -> Sketch:
    """The sketch of some values."""
    counts: dict[int, int] = {}
    for value in values:
        index = bucket(value)
        counts[index] = counts.get(index, 0) + 1
    return counts


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """The sketch of everything that the given sketches have seen."""
    counts: dict[int, int] = {}
    for part in sketches:
        for index, count in part.items():
            counts[index] = counts.get(index, 0) + count
    return counts


def quantile(of: Sketch, q: float) -> float | None:
    """The nearest-rank quantile, 0 ≤ q ≤ 1, within 2 %; ``None`` for an empty sketch."""
    found = quantiles(of, (q,))
    return found[0] if found else None


def quantiles(of: Sketch, shares: Sequence[float]) -> tuple[float, ...]:
    """Several nearest-rank quantiles in one pass; none for an empty sketch."""
    indexes = sorted(of)
    seen = list(accumulate(map(of.__getitem__, indexes)))
    if not seen or seen[-1] == 0:
        return ()
    ranks = (max(1, math.ceil(share * seen[-1])) for share in shares)
    return tuple(representative(indexes[bisect_left(seen, rank)]) for rank in ranks)
