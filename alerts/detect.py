"""Detection: whether a stream breaches its SLO, by a fast rule or by the windows that guard. Pure.

Failures come in runs: one user who tries again makes several of one fault. ``clustering`` measures that, and both rules ask
for more failures where it is large. The fast rule is a sequential test, far earlier than windows; what makes it quiet enough to
wake somebody is that it also waits until half a per cent of 30 days' budget is gone. Where that is few failures, it is off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from alerts.alert import Alert, Condition
from alerts.burn import CAP_NATS, FASTEST, MIN_SPREAD_SECONDS, Breach, Tally, Windows, breach, evidence, recovered

ALTERNATIVES = (6.0, 14.4, 50.0, 200.0, 500.0, 900.0)
"""Burns that the fast rule looks for, each with the same weight."""
TOLERATED = 3.0
"""A burn that the fast rule does not speak against: a ticket is enough for it."""
WORST_SHARE = 0.9
"""The largest share of failures that is looked for; where the objective is loose it stands for all that would be larger."""
GATE_SHARE = 0.005
"""Share of 30 days' budget that must be gone since the change before the fast rule speaks."""
MIN_GATE_FAILURES = 30.0
"""Where GATE_SHARE is fewer failures than this, the fast rule is off."""
LATE_SECONDS = 30
"""Verdicts that come later than this after their request's end are none of the fast rule's business."""
REPLAY_SECONDS = 900
"""Whoever takes over lets the fast rule see this much of what was [s]; a slower change begins anew for it, and the windows,
which are exact, do not forget."""
CLUSTERING_UNKNOWN = 5.0
"""Clustering of failures that nobody has seen yet: what retries make of single faults."""
BIN_SECONDS = 300
"""Clustering is measured between counts of so long: what one user makes of one fault is over by then, mostly."""
OUTAGE_REQUESTS = 20
"""A minute with so many requests of which half failed was an outage, and says nothing of how failures cluster."""
_UNKNOWN_FAILURES = 10.0
"""Failures that CLUSTERING_UNKNOWN weighs as much as."""
_LARGEST_CLUSTERING = 20.0
"""Above it an outage that was learned from would blind the rules for the days that it is remembered."""
_RUNS = ((3.0, 300.0), (6.0, 60.0))
"""Failures asked for: so many times the clustering, but no more than a total outage brings in so many seconds, or a small model
could be out for an hour. Two runs in an hour are not rare; where they cost no time, six are asked for."""
MONTH_SECONDS = 2_592_000
_YEAR_SECONDS = 31_536_000.0
_SHORTEST_AGE_SECONDS = 3600
_LARGEST = 1e30
"""A statistic is cut off here, far above every threshold, so that no power of it overflows."""


class Past(NamedTuple):
    """What minutes say of a stream: its verdicts over long windows up to now [by s], 30 days among them; since when there are
    any in 30 days [s since 1970]; and how its failures cluster."""

    windows: Mapping[int, Tally] = MappingProxyType({})
    first: int | None = None
    clustering: float = CLUSTERING_UNKNOWN

    def window(self, seconds: int) -> Tally:
        """The verdicts of one window; none where it is not known."""
        return self.windows.get(seconds, Tally(0, 0))

    def rate(self, now: int) -> float:
        """Requests per second. A stream that is younger than an hour is taken to be an hour old."""
        if self.first is None:
            return 0.0
        age = min(max(now - self.first, _SHORTEST_AGE_SECONDS), MONTH_SECONDS)
        return sum(self.window(MONTH_SECONDS)) / age


def clustering(squares: float, neighbours: float, failures: float) -> float:
    """E[N²]/E[N] of the runs that failures come in, at least 1, from counts F of failures by BIN_SECONDS.

    It is half the mean squared difference of neighbouring counts over the mean: 1 where failures come alone and independently,
    N where they come in runs of N within a bin, and hardly touched by a day's slow change of the load.

    :param squares: sum of F²
    :param neighbours: sum of F times the F before
    :param failures: sum of F
    """
    learned = max(0.0, squares - neighbours) + CLUSTERING_UNKNOWN * _UNKNOWN_FAILURES
    return min(_LARGEST_CLUSTERING, max(1.0, learned / (failures + _UNKNOWN_FAILURES)))


class Premise(NamedTuple):
    """What a stream is judged by, beside its counts."""

    budget: Fraction
    """Share of requests that may fail."""
    min_failures: int
    """Failures without which nothing is raised, clustering considered."""
    clustering: float
    gate: float
    """Failures since the change that the fast rule waits for; infinite where it is off."""
    threshold: float
    """Statistic at which the fast rule speaks: one false word in so many requests, were it alone."""


def premise(budget: Fraction, min_failures: int, past: Past, streams: int, now: int) -> Premise:
    """What a stream is judged by: its SLO's budget and minimum, its past, and how many streams are watched beside it."""
    rate = past.rate(now)
    runs = max(min(times * past.clustering, rate * seconds) for times, seconds in _RUNS)
    gate = GATE_SHARE * MONTH_SECONDS * rate * float(budget)
    return Premise(
        budget=budget,
        min_failures=max(min_failures, math.ceil(runs)),
        clustering=past.clustering,
        gate=gate if gate >= MIN_GATE_FAILURES else math.inf,
        threshold=max(1.0, _YEAR_SECONDS * rate * streams),
    )


class _Alternative(NamedTuple):
    """Nats that one failure speaks for it against the tolerated burn, and one good request against it."""

    loss: float
    gain: float


class Scan:
    """The fast rule's memory of one stream: the statistics of a mixture Shiryaev-Roberts test, and the change they speak of.

    The change is where a CUSUM of a burn of 14.4 against one of 1 was last at zero, capped so that a good past cannot be
    outvoted late. Seconds are whole seconds since 1970.
    """

    def __init__(self, budget: Fraction, since: int = 0) -> None:
        self._alternatives = _alternatives(float(budget))
        self._gain, self._loss = evidence(budget, FASTEST)
        self.clear(since)

    def clear(self, since: int) -> None:
        """Forget everything up to and including the second ``since``."""
        self.since = since
        self._begun: int | None = None
        self._statistics = [0.0] * len(self._alternatives)
        self._change = 0.0
        self.failures = 0
        """Failures since the change."""
        self.first: int | None = None
        """Second of the first of them."""
        self.last: int | None = None
        """Second of the last of them."""

    def forgive(self, until: int) -> None:
        """Forget what was up to that second, where any of it was seen: after a restart the end of an alert may lie far back."""
        if until > self.since:
            if self._begun is None or until < self._begun:
                self.since = until
            else:
                self.clear(until)

    def step(self, second: int, good: int, bad: int, clustering: float) -> None:
        """Take the verdicts of a second, the good ones first; or of several in which nothing failed."""
        if second <= self.since:
            return
        if self._begun is None:
            self._begun = second
        if good:
            self._change = max(0.0, self._change - good * self._gain)
            if self._change == 0.0:
                self.failures, self.first, self.last = 0, None, None
        if bad:
            self._change = min(CAP_NATS, self._change + bad * self._loss)
            self.failures += bad
            self.first = second if self.first is None else min(self.first, second)
            self.last = second if self.last is None else max(self.last, second)
        for position, (loss, gain) in enumerate(self._alternatives):
            value = _repeat(self._statistics[position], -gain / clustering, good)
            self._statistics[position] = _repeat(value, loss / clustering, bad)

    @property
    def statistic(self) -> float:
        """The mixture's statistic. Without a change its mean is the number of requests that were seen."""
        return sum(self._statistics) / len(self._statistics)

    def speaks(self, by: Premise) -> bool:
        """Whether there has been a change that somebody must be woken for."""
        if self.first is None or self.last is None or self.last - self.first < MIN_SPREAD_SECONDS:
            return False
        return self.failures >= max(by.gate, by.min_failures) and self.statistic >= by.threshold


def _alternatives(budget: float) -> list[_Alternative]:
    tolerated = TOLERATED * budget
    shares = [burn * budget for burn in ALTERNATIVES if burn * budget < WORST_SHARE]
    if len(shares) < len(ALTERNATIVES):
        shares.append(WORST_SHARE)
    return [_Alternative(math.log(share / tolerated), math.log((1 - tolerated) / (1 - share))) for share in shares]


def _repeat(value: float, nats: float, times: int) -> float:
    """``value ← (value + 1)·e^nats``, so many times: the recursion of Shiryaev and Roberts, in closed form."""
    if not times:
        return value
    if times * nats > 60.0:
        return _LARGEST
    grown = math.exp(times * nats)
    return min(_LARGEST, value * grown + math.exp(nats) * (grown - 1) / math.expm1(nats))


class Signal(NamedTuple):
    """What was found: by the windows (``breach``) or, before they burn, by the fast rule."""

    breach: Breach | None
    failures: int
    span_seconds: int
    """Of the fast rule's failures; 0 where the windows burn."""

    @property
    def confirmed(self) -> bool:
        """Whether there are enough failures, far enough apart, to page."""
        return self.breach is None or self.breach.confirmed


class Judgement(NamedTuple):
    """What an evaluation sees of one alert, and of what it speaks."""

    condition: Condition
    signal: Signal | None
    factor: Fraction
    """The burn that is asked about where the alert is active: whether it is over."""


def judge(windows: Windows, scan: Scan, by: Premise, alert: Alert | None) -> Judgement:
    """What speaks for a breach at ``windows.now``, or for its end.

    Failures up to the end of an alert that is resolved have been paged for and found over. That latches the windows until they
    no longer hold that outage, and lets a new one be seen through them; the fast rule forgets all that was until then.
    """
    active = alert is not None and alert.active
    forgiven = None if alert is None or active or alert.ends_at is None else int(alert.ends_at.timestamp())
    if forgiven is not None:
        scan.forgive(forgiven)
    found = detect(windows, scan, by, forgiven)
    factor = found.breach.rule.factor if found and found.breach else FASTEST
    if active:
        over = recovered(windows, by.budget, factor)
        if over is None:
            return Judgement(Condition.NO_DATA, found, factor)
        if over:
            return Judgement(Condition.CLEAR, found, factor)
    if found is not None and found.confirmed:
        return Judgement(Condition.BREACH, found, factor)
    if active:
        return Judgement(Condition.UNSURE, found, factor)
    return Judgement(Condition.CLEAR if found is None else Condition.SUSPECT, found, factor)


def detect(windows: Windows, scan: Scan, by: Premise, forgiven: int | None = None) -> Signal | None:
    """What speaks for a breach; what is confirmed comes first. Failures up to the second ``forgiven`` count for nothing."""
    found = breach(windows, by.budget, by.min_failures, forgiven=forgiven)
    if (found is None or not found.confirmed) and scan.speaks(by):
        assert scan.first is not None
        assert scan.last is not None
        return Signal(None, scan.failures, scan.last - scan.first)
    return None if found is None else Signal(found, found.failures, 0)
