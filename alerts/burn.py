"""Burn: how fast an error budget is being spent, from exact counts per second. Pure.

Two rules page (the SRE workbook's multi-window rules), evaluated each second on exact counts instead of scraped counters.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple, Protocol


class Rule(NamedTuple):
    """Burn at least ``factor`` over both windows [s]. The short one makes it stop soon after the cause has gone."""

    factor: Fraction
    long_seconds: int
    short_seconds: int


RULES = (
    Rule(Fraction("14.4"), 3600, 300),
    Rule(Fraction(6), 21_600, 1800),
)
TICKETS = (
    Rule(Fraction(3), 86_400, 7200),
    Rule(Fraction(1), 259_200, 21_600),
)
"""Rules that wake nobody: 10 % of a 30-day budget gone in a day, or 10 % of it in three."""
WINDOWS = tuple(sorted({seconds for rule in RULES for seconds in (rule.short_seconds, rule.long_seconds)}))
"""Every window that a rule looks at [s]."""
SPAN_SECONDS = max(WINDOWS)

MIN_SPREAD_SECONDS = 10
"""Failures must lie at least this far apart, or one burst of retries would page."""

FASTEST = max(rule.factor for rule in RULES)
CAP_NATS = 12.0
"""Evidence of recovery is cut off here, or a long good past would outvote failures of this minute."""
_RECOVERED_NATS = math.log(100)
HOLD_SECONDS = 120
"""How long a recovery must last, the first time."""
_LONGEST_HOLD_SECONDS = 1800
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
        if not self.bad:
            return False
        limit = factor * budget
        return self.bad * limit.denominator >= (self.good + self.bad) * limit.numerator


class Windows(Protocol):
    """What the rules read: verdicts by second up to ``now``, over the last 6 h."""

    @property
    def now(self) -> int:
        """Whole seconds since 1970."""
        ...

    @property
    def last_bad(self) -> int | None:
        """Second of the newest failure."""
        ...

    @property
    def last_seen(self) -> int | None:
        """Second of the newest verdict."""
        ...

    def window(self, seconds: int) -> Tally:
        """The verdicts of one of WINDOWS."""
        ...

    def seconds(self, first: int) -> tuple[list[int], list[int]]:
        """Good and bad verdicts by second, from ``first`` (at most 6 h back) to now."""
        ...


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


def breach(counts: Windows, budget: Fraction, min_failures: int, *, forgiven: int | None = None) -> Breach | None:
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


def _since(counts: Windows, window: int, forgiven: int | None) -> Tally:
    """A window's verdicts, without failures that are forgiven."""
    tally = counts.window(window)
    if forgiven is None or forgiven <= counts.now - window:
        return tally
    return Tally(tally.good, sum(counts.seconds(forgiven + 1)[1]))


def _spread(counts: Windows, window: int, forgiven: int | None) -> int:
    """Seconds between the first and the last failure of a window."""
    first = counts.now - window + 1
    if forgiven is not None:
        first = max(first, forgiven + 1)
    bads = counts.seconds(first)[1]
    earliest = next((position for position, bad in enumerate(bads) if bad), None)
    if earliest is None:
        return 0
    return len(bads) - 1 - next(position for position, bad in enumerate(reversed(bads)) if bad) - earliest


def onset(counts: Windows, budget: Fraction) -> int | None:
    """The second in which the present breach most likely began: where a burn of 14.4 explains all that follows, better than
    a burn of 1 does. ``None`` where nothing within the last 6 h speaks for a breach."""
    gain, loss = evidence(budget, FASTEST)
    first = counts.now - SPAN_SECONDS + 1
    goods, bads = counts.seconds(first)
    total, best, start = 0.0, 0.0, None
    for position in range(len(goods) - 1, -1, -1):
        total += bads[position] * loss - goods[position] * gain
        if bads[position] and total >= best:
            best, start = total, first + position
    return start


def recovered(counts: Windows, budget: Fraction, factor: Fraction) -> bool | None:
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
    gain, loss = evidence(budget, factor)
    nats = 0.0
    for good, bad in zip(goods, bads, strict=True):
        if good or bad:
            nats = min(CAP_NATS, max(0.0, nats + good * gain - bad * loss))
    if nats < _RECOVERED_NATS:
        return False
    still_coming = counts.last_seen is not None and counts.last_seen > counts.now - HOLD_SECONDS
    return True if still_coming else None


def evidence(budget: Fraction, factor: Fraction) -> tuple[float, float]:
    """Nats that one good request speaks for a burn of 1 against one of ``factor``, and one failure against it."""
    normal, burning = float(budget), float(factor * budget)
    return math.log((1 - normal) / (1 - burning)), math.log(burning / normal)


def slow_breach(windows: Mapping[int, Tally], budget: Fraction, min_failures: int) -> Rule | None:
    """The first ticket rule that burns over both its windows [by s] with enough failures in the short one, or ``None``."""
    for rule in TICKETS:
        long, short = windows[rule.long_seconds], windows[rule.short_seconds]
        if short.bad >= min_failures and long.burns(rule.factor, budget) and short.burns(rule.factor, budget):
            return rule
    return None


def hold_seconds(flaps: int) -> int:
    """How long a recovery must last [s] after an alert has fired again so often: 2, 10, then 30 minutes. Somebody who has been
    woken twice in an hour is not told of every turn."""
    return min(_LONGEST_HOLD_SECONDS, HOLD_SECONDS * (1, 5, 25)[min(flaps, 2)])


def spent(period: Tally, budget: Fraction) -> float:
    """Share of the period's error budget that is gone; above 1 when it is overdrawn, 0 without requests.

    Of the requests that came so far in the rolling period: a system of one day's age has one day's requests to spend on.
    """
    return period.burn(budget)
