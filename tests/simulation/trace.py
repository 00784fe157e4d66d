"""Traffic that never was: good requests and failures by second, from a seed."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from itertools import accumulate
from random import Random
from typing import NamedTuple

from alerts.burn import SPAN_SECONDS, Tally
from alerts.detect import BIN_SECONDS, MONTH_SECONDS, OUTAGE_REQUESTS, Past, clustering

BASE_SHARE = 0.0005
"""Share of requests that fail on a good day: half of what an objective of 99.9 % allows."""
RUN_LENGTH = 3.0
"""Mean of the geometric lengths of runs: E[N²]/E[N] is 5."""
BURST_LENGTH = 24
BURST_SHARE = 4 / 460
"""Failures that come alone but for this share of them, which begin a burst of 24: E[N²]/E[N] is 5 as well."""
RUN_GAP_SECONDS = 5.0
"""Mean time between two failures of a run: somebody tries again."""
BLIP_SECONDS = 5
BLIPS_A_DAY = 4.0


class Cluster(Enum):
    """In what runs failures come."""

    NONE = "independent"
    RUNS = "in runs"
    BURSTS = "in rare bursts"


class Pattern(NamedTuple):
    """How failures come on a good day."""

    cluster: Cluster = Cluster.NONE
    blips: bool = False
    """Whether everything fails for 5 seconds, 4 times a day."""

    @property
    def name(self) -> str:
        """As the table writes it."""
        return self.cluster.value + (", and blips" if self.blips else "")


class Trace:
    """A stretch of traffic, read as the alerter reads it: ``now`` is moved by whoever replays it."""

    def __init__(self, good: array[int], bad: array[int]) -> None:
        self.good, self.bad = good, bad
        self._goods = array("Q", accumulate(good, initial=0))
        self._bads = array("Q", accumulate(bad, initial=0))
        self.failing = [second for second, count in enumerate(bad) if count]
        self.now = 0

    def __len__(self) -> int:
        return len(self.good)

    def between(self, after: int, until: int) -> Tally:
        """Verdicts of the seconds from ``after`` + 1 to ``until``."""
        first, end = max(0, after + 1), max(0, until + 1)
        return Tally(self._goods[end] - self._goods[first], self._bads[end] - self._bads[first])

    def window(self, seconds: int) -> Tally:
        return self.between(self.now - seconds, self.now)

    def seconds(self, first: int) -> tuple[list[int], list[int]]:
        first = max(first, self.now - SPAN_SECONDS + 1, 0)
        return self.good[first : self.now + 1].tolist(), self.bad[first : self.now + 1].tolist()

    @property
    def last_bad(self) -> int | None:
        at = bisect_right(self.failing, self.now)
        return self.failing[at - 1] if at else None

    @property
    def last_seen(self) -> int | None:
        for second in range(self.now, max(-1, self.now - SPAN_SECONDS), -1):
            if self.good[second] or self.bad[second]:
                return second
        return None

    def past(self, first: int = 0) -> Past:
        """What minutes would say of it, the way the alerter reads them. ``first`` is where it begins, seconds from 0."""
        minutes: dict[int, int] = {}
        for second in self.failing:
            minutes[second // 60] = minutes.get(second // 60, 0) + self.bad[second]
        bins: dict[int, int] = {}
        for minute, count in minutes.items():
            total = sum(self.between(minute * 60 - 1, min(len(self), minute * 60 + 60) - 1))
            if not (2 * count >= total >= OUTAGE_REQUESTS):
                bins[minute * 60 // BIN_SECONDS] = bins.get(minute * 60 // BIN_SECONDS, 0) + count
        squares = sum(count * count for count in bins.values())
        neighbours = sum(count * bins.get(at - 1, 0) for at, count in bins.items())
        whole = self.between(-1, len(self) - 1)
        return Past({MONTH_SECONDS: whole}, first, clustering(squares, neighbours, sum(bins.values())))


def healthy(rate: float, seconds: int, pattern: Pattern, random: Random) -> Trace:
    """Traffic without an outage: ``rate`` requests a second at random times."""
    good = arrivals(rate, seconds, random)
    bad = array("I", bytes(4 * seconds))
    for second in _failures(rate * BASE_SHARE, seconds, pattern, random):
        bad[second] += 1
    if pattern.blips:
        for start in _times(BLIPS_A_DAY / 86_400, seconds - BLIP_SECONDS, random):
            for second in range(int(start), int(start) + BLIP_SECONDS):
                bad[second] += good[second]
                good[second] = 0
    return Trace(good, bad)


def arrivals(rate: float, seconds: int, random: Random) -> array[int]:
    """Requests by second, Poisson."""
    if rate < 1:
        found = array("I", bytes(4 * seconds))
        for time in _times(rate, seconds, random):
            found[int(time)] += 1
        return found
    # 256 quantiles of the distribution, drawn by bytes: whatever differs from Poisson lies beyond 1 in 500
    low = max(0, int(rate - 5 * math.sqrt(rate)))
    table = _quantiles(rate, low)
    return array("I", map(low.__add__, random.randbytes(seconds).translate(table)))


def failing(trace: Trace, onset: int, share: float, random: Random) -> Trace:
    """The same, with so large a share of the requests failing from a second on."""
    good, bad = array("I", trace.good), array("I", trace.bad)
    for second in range(onset, len(trace)):
        failed = good[second] if share >= 1 else _binomial(good[second], share, random)
        bad[second] += failed
        good[second] -= failed
    return Trace(good, bad)


def _failures(rate: float, seconds: int, pattern: Pattern, random: Random) -> Iterator[int]:
    mean = {Cluster.NONE: 1.0, Cluster.RUNS: RUN_LENGTH, Cluster.BURSTS: 1 + BURST_SHARE * (BURST_LENGTH - 1)}
    for start in _times(rate / mean[pattern.cluster], seconds, random):
        yield int(start)
        time = start
        for _ in range(_length(pattern.cluster, random) - 1):
            time += random.expovariate(1 / RUN_GAP_SECONDS)
            if time < seconds:
                yield int(time)


def _length(cluster: Cluster, random: Random) -> int:
    if cluster is Cluster.RUNS:
        return 1 + int(math.log(1 - random.random()) / math.log(1 - 1 / RUN_LENGTH))
    return BURST_LENGTH if cluster is Cluster.BURSTS and random.random() < BURST_SHARE else 1


def _times(rate: float, seconds: float, random: Random) -> Iterator[float]:
    draw, log = random.random, math.log
    time = -log(1.0 - draw()) / rate
    while time < seconds:
        yield time
        time -= log(1.0 - draw()) / rate


def _quantiles(rate: float, low: int) -> bytes:
    table, value = bytearray(), 0
    share = total = math.exp(-rate)
    for level in range(256):
        while total < (level + 0.5) / 256:
            value += 1
            share = math.exp(value * math.log(rate) - rate - math.lgamma(value + 1))
            total += share
        table.append(min(255, max(0, value - low)))
    return bytes(table)


def _binomial(of: int, share: float, random: Random) -> int:
    if of > 50:
        return min(of, max(0, round(random.gauss(of * share, math.sqrt(of * share * (1 - share))))))
    return sum(random.random() < share for _ in range(of))
