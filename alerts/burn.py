"""Burn: how fast an error budget is being spent, from exact counts per second. Pure.

Two rules page (the SRE workbook's multi-window rules), evaluated each second on exact counts instead of scraped counters.
"""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from typing import NamedTuple


class Rule(NamedTuple):
    """Burn at least ``factor`` over both windows [s]. The short one makes it stop soon after the cause has gone."""

    factor: Fraction
    long_seconds: int
    short_seconds: int


RULES = (
    Rule(Fraction("14.4"), 3600, 300),
    Rule(Fraction(6), 21_600, 1800),
)
WINDOWS = tuple(sorted({seconds for rule in RULES for seconds in (rule.short_seconds, rule.long_seconds)}))
"""Every window that a rule looks at [s]."""
SPAN_SECONDS = max(WINDOWS)

MIN_SPREAD_SECONDS = 10
"""Failures must lie at least this far apart, or one burst of retries would page."""

FASTEST = max(rule.factor for rule in RULES)
_CAP_NATS = 12.0
"""Evidence of recovery is cut off here, or a long good past would outvote failures of this minute."""
_RECOVERED_NATS = math.log(100)
HOLD_SECONDS = 120
"""How long a recovery must last."""
QUIET_SECONDS = 1800 - HOLD_SECONDS
"""Without a failure for so long, and then for HOLD_SECONDS more: recovered, however few requests there were."""


class Tally(NamedTuple):
    """Requests that passed and that failed."""

    good: int
    bad: int

    def burn(self, budget: Fraction) -> float:
        """How many times faster than allowed the budget is being spent; 0 without requests."""
        total = self.good + self.bad
        return float(self.bad / (total * budget)) if total else 0.0

    def burns(self, factor: Fraction, budget: Fraction) -> bool:
        """Whether the burn is at least ``factor``, in integers: a ratio that is exactly at the limit counts."""
        limit = factor * budget
        total = self.good + self.bad
        return total > 0 and self.bad * limit.denominator >= total * limit.numerator


class Counts:
    """Verdicts of one stream by second of the request's end, over the last 6 h, with running sums of every window.

    A window of W seconds at time ``now`` is the W seconds up to and including ``now``. Late verdicts count in their own
    second; those of a clock that is ahead wait until their second has come; those older than 6 h are left out here, since
    only the budget still cares. Times are whole seconds since 1970.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self._good = array("I", bytes(4 * SPAN_SECONDS))
        self._bad = array("I", bytes(4 * SPAN_SECONDS))
        self._sums = dict.fromkeys(WINDOWS, (0, 0))
        self._ahead: dict[int, Tally] = {}
        self.last_bad: int | None = None
        """Second of the newest failure that has come."""
        self.last_seen: int | None = None
        """Second of the newest verdict that has come."""

    def add(self, second: int, good: int, bad: int) -> None:
        """Count verdicts of one second."""
        if second > self.now:
            waiting = self._ahead.get(second, Tally(0, 0))
            self._ahead[second] = Tally(waiting.good + good, waiting.bad + bad)
            return
        if good or bad:
            self.last_seen = second if self.last_seen is None else max(self.last_seen, second)
        if bad:
            self.last_bad = second if self.last_bad is None else max(self.last_bad, second)
        if second <= self.now - SPAN_SECONDS:
            return
        slot = second % SPAN_SECONDS
        self._good[slot] += good
        self._bad[slot] += bad
        for window, (all_good, all_bad) in self._sums.items():
            if second > self.now - window:
                self._sums[window] = (all_good + good, all_bad + bad)

    def advance(self, now: int) -> None:
        """Let time pass. A clock that went back changes nothing."""
        if now <= self.now:
            return
        if now - self.now >= SPAN_SECONDS:
            self._good = array("I", bytes(4 * SPAN_SECONDS))
            self._bad = array("I", bytes(4 * SPAN_SECONDS))
            self._sums = dict.fromkeys(WINDOWS, (0, 0))
        else:
            self._leave(now)
        self.now = now
        for second in sorted(second for second in self._ahead if second <= now):
            self.add(second, *self._ahead.pop(second))

    def _leave(self, now: int) -> None:
        """Take the seconds that fall out of each window from its sum, the widest window last: that one frees the slots."""
        for window in WINDOWS:
            good, bad = self._sums[window]
            for second in range(self.now - window + 1, now - window + 1):
                slot = second % SPAN_SECONDS
                if second <= self.now:  # the others have not been counted yet
                    good -= self._good[slot]
                    bad -= self._bad[slot]
                    if window == SPAN_SECONDS:
                        self._good[slot] = self._bad[slot] = 0
            self._sums[window] = (good, bad)

    def window(self, seconds: int) -> Tally:
        """The verdicts of one of WINDOWS."""
        return Tally(*self._sums[seconds])

    def seconds(self, first: int) -> tuple[list[int], list[int]]:
        """Good and bad verdicts by second, from ``first`` (at most 6 h back) to now."""
        first = max(first, self.now - SPAN_SECONDS + 1)
        start, length = first % SPAN_SECONDS, self.now - first + 1
        if length <= 0:
            return [], []
        good, bad = self._good[start : start + length], self._bad[start : start + length]
        rest = length - len(good)
        return (good + self._good[:rest]).tolist(), (bad + self._bad[:rest]).tolist()


class Breach(NamedTuple):
    """A rule whose windows both burn. ``confirmed`` is whether there are enough failures, and far enough apart."""

    rule: Rule
    confirmed: bool
    failures: int
    """Failures in the long window."""


def breach(counts: Counts, budget: Fraction, min_failures: int, *, forgiven: int | None = None) -> Breach | None:
    """The first rule that burns over both its windows, or ``None``.

    Failures up to the second ``forgiven`` have been paged for and found over: they are not held against the stream again,
    while its good requests still count.

    The minimum number of failures is counted over the long window. Counted over the short one it would save a twentieth to
    a fifth of the false pages of clustered failures (simulated at 0.005 to 0.5 requests a second), and a model with a few
    requests an hour could be out altogether without ever paging.
    """
    best: Breach | None = None
    for rule in RULES:
        long, short = _since(counts, rule.long_seconds, forgiven), _since(counts, rule.short_seconds, forgiven)
        if not (long.burns(rule.factor, budget) and short.burns(rule.factor, budget)):
            continue
        confirmed = long.bad >= min_failures and _spread(counts, rule.long_seconds, forgiven) >= MIN_SPREAD_SECONDS
        found = Breach(rule, confirmed, long.bad)
        if confirmed:
            return found
        best = best or found
    return best


def _since(counts: Counts, window: int, forgiven: int | None) -> Tally:
    """A window's verdicts, without failures that are forgiven."""
    tally = counts.window(window)
    if forgiven is None or forgiven <= counts.now - window:
        return tally
    return Tally(tally.good, sum(counts.seconds(forgiven + 1)[1]))


def _spread(counts: Counts, window: int, forgiven: int | None) -> int:
    """Seconds between the first and the last failure of a window."""
    first = counts.now - window + 1
    if forgiven is not None:
        first = max(first, forgiven + 1)
    failed = [position for position, bad in enumerate(counts.seconds(first)[1]) if bad]
    return failed[-1] - failed[0] if failed else 0


def onset(counts: Counts, budget: Fraction) -> int | None:
    """The second in which the present breach most likely began: where a burn of 14.4 explains all that follows, better than
    a burn of 1 does. ``None`` where nothing within the last 6 h speaks for a breach."""
    gain, loss = _evidence(budget, FASTEST)
    first = counts.now - SPAN_SECONDS + 1
    goods, bads = counts.seconds(first)
    total, best, start = 0.0, 0.0, None
    for position in range(len(goods) - 1, -1, -1):
        total += bads[position] * loss - goods[position] * gain
        if bads[position] and total >= best:
            best, start = total, first + position
    return start


def recovered(counts: Counts, budget: Fraction, factor: Fraction) -> bool | None:
    """Whether requests since the last failures say that a breach is over; ``None`` where there are too few to say anything.

    Either the likelihood of a burn of 1 over one of ``factor`` has come back to 100 : 1, with requests still coming, or
    nothing failed for QUIET_SECONDS while something was served. The caller waits HOLD_SECONDS more.
    """
    quiet_since = counts.now - QUIET_SECONDS
    goods, bads = counts.seconds(quiet_since + 1)
    if not any(goods) and not any(bads):
        return None
    if counts.last_bad is None or counts.last_bad <= quiet_since:
        return True
    gain, loss = _evidence(budget, factor)
    evidence = 0.0
    for good, bad in zip(goods, bads, strict=True):
        evidence = min(_CAP_NATS, max(0.0, evidence + good * gain - bad * loss))
    if evidence < _RECOVERED_NATS:
        return False
    still_coming = counts.last_seen is not None and counts.last_seen > counts.now - HOLD_SECONDS
    return True if still_coming else None


def _evidence(budget: Fraction, factor: Fraction) -> tuple[float, float]:
    """Nats that one good request speaks for a burn of 1 against one of ``factor``, and one failure against it."""
    normal, burning = float(budget), float(factor * budget)
    return math.log((1 - normal) / (1 - burning)), math.log(burning / normal)


def spent(period: Tally, budget: Fraction) -> float:
    """Share of the period's error budget that is gone; above 1 when it is overdrawn, 0 without requests.

    Of the requests that came so far in the rolling period: a system of one day's age has one day's requests to spend on.
    """
    return period.burn(budget)
