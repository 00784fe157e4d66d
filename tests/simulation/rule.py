"""Three ways to page, run over the same traffic: Prometheus' rules, our windows alone, and what the alerter does."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

from alerts.alert import REFIRE, Alert, Observation, Severity, advance
from alerts.burn import RULES, hold_seconds
from alerts.detect import MONTH_SECONDS, Past, Premise, Scan, judge, premise
from tests.simulation.trace import Trace

BUDGET = Fraction(1, 1000)
MIN_FAILURES = 4
SCRAPE_SECONDS = 15
EVALUATE_SECONDS = 30
_SPARSE_RATE = 0.2
_SPARSE_SECONDS = 3600
_SPARSE_STEP = 5


class Told(NamedTuple):
    """Seconds at which somebody was told; ``again`` where it was of the alert of before."""

    at: int
    again: bool


def prometheus(trace: Trace, start: int, phase: int = 0) -> list[Told]:
    """The workbook's two rules on counters that are scraped every 15 s and evaluated every 30 s."""
    told: list[Told] = []
    firing, ended = False, None
    limits = [(rule.short_seconds, rule.long_seconds, float(rule.factor * BUDGET)) for rule in RULES]
    for now in range(start + phase, len(trace), EVALUATE_SECONDS):
        burns = any(_scraped(trace, now, short, limit) and _scraped(trace, now, long, limit) for short, long, limit in limits)
        if burns and not firing:
            told.append(Told(now, ended is not None and now - ended <= REFIRE.total_seconds()))
        if firing and not burns:
            ended = now
        firing = burns
    return told


def _scraped(trace: Trace, now: int, window: int, limit: float) -> bool:
    last = now - now % SCRAPE_SECONDS
    first = now - window
    first += -first % SCRAPE_SECONDS
    seen = trace.between(first, last)
    return seen.bad > 0 and seen.bad > limit * (seen.good + seen.bad)


def guard(trace: Trace, start: int, *, once: bool = False) -> list[Told]:
    """Exact windows, at least 4 failures 10 s apart, and nothing else. ``once``: only until somebody is told."""
    return _run(trace, start, Premise(BUDGET, MIN_FAILURES, 1.0, math.inf, math.inf), once)


def final(trace: Trace, start: int, past: Past, *, once: bool = False) -> list[Told]:
    """What the alerter does. ``past`` is what it knows of the 30 days before."""
    return _run(trace, start, premise(BUDGET, MIN_FAILURES, past, 1, MONTH_SECONDS), once)


def _run(trace: Trace, start: int, by: Premise, once: bool) -> list[Told]:
    """The alert's own state machine over the seconds in which anything can change, and over all while it is active; where
    requests are rare, over every fifth of those."""
    told: list[Told] = []
    scan, alert = Scan(by.budget, start), Alert(labels={"alertname": "simulated"}, since=_time(0))
    before, sparse = start, _sparse(trace)
    for second in _moments(trace, start, sparse):
        if second <= before:
            continue
        for now in range(second, len(trace), _SPARSE_STEP if sparse else 1):
            trace.now = now
            scan.step(now, *trace.between(before, now), by.clustering)
            before = now
            seen = Observation(judge(trace, scan, by, alert).condition, "", Severity.PAGE, hold_seconds(alert.flaps))
            step = advance(alert, seen, _time(now))
            alert = step.alert
            told += [Told(now, notice.revision > 0) for notice in step.notices if notice.status == "firing"]
            if not alert.active:
                break
            if once:
                return told
    return told


def _sparse(trace: Trace) -> bool:
    return sum(trace.between(-1, len(trace) - 1)) < _SPARSE_RATE * len(trace)


def _moments(trace: Trace, start: int, sparse: bool) -> list[int]:
    """Seconds with a failure; where requests are rare also those in which a window may burn because good ones leave it."""
    found = set(trace.failing)
    if sparse:
        for second in trace.failing:
            found.update(range(second, min(len(trace), second + _SPARSE_SECONDS), EVALUATE_SECONDS))
    return sorted(second for second in found if second > start)


def _time(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
