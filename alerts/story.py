"""The Story: what is known beside the verdict of a page, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import sqrt
from typing import NamedTuple

from alerts.burn import Tally
from alerts.finding import clock
from collector.event import Change
from collector.request import Outcome

_CERTAIN = 3.0
"""A share stands out where chance would give it so many standard deviations less: one time in 700."""
_DIMENSIONS = ("replica", "model", "tenant", "prompts")
"""Of what explains the failures equally well the first is told: where they are comes before whose."""
_MOST = 0.5
"""A share that stands out holds half of the failures at least: less explains nothing."""
_ENOUGH = 10
"""With fewer failures nothing is said about shares where none stands out."""
_TOLD_LATE = timedelta(minutes=2)
"""A change may be told of so long after what it did was seen."""
_FULL = 0.95
"""KV cache in use, from which on an engine has to wait or to preempt."""
_BURST = 3.0
"""A tenant that sends so many times what it sent in the hour before is a burst."""
_COLLAPSE = 0.2
"""A fall of the cache-hit rate that is worth a line."""
_LEAST_TOKENS = 10_000
"""Prompt tokens without which a hit rate says little."""
_LEAST_MINUTES = 15
"""Minutes of the hour before without which nothing can be compared with it."""


class Hurt(NamedTuple):
    """Failed requests of one tenant. ``id`` is ours, and says nothing to others."""

    tenant: str
    id: int
    requests: int


class Share(NamedTuple):
    """The requests that have one value of one dimension (model, replica, tenant, prompt length)."""

    dimension: str
    value: str
    requests: int
    failed: int


class Pressure(NamedTuple):
    """What scrapes of one replica say of the time."""

    replica: str
    kv_cache_usage_ratio: float | None
    """The largest."""
    requests_waiting: float | None
    """The largest."""
    preemptions: float
    """Requests thrown out of the batch in this time."""


class Volume(NamedTuple):
    """What came in some minutes, of everybody or of one tenant."""

    minutes: int
    requests: int
    cached_tokens: int
    cacheable_tokens: int


class Comparison(NamedTuple):
    """The time of the alert and the hour before it: of everybody, and of the tenant that sends most."""

    tenant: str | None
    now: Volume
    before: Volume
    tenant_now: Volume
    tenant_before: Volume


class Story(NamedTuple):
    """Requests that ended between two times, as an objective judges them; ``capped`` where only the last so many were read."""

    since: datetime
    until: datetime
    requests: int = 0
    failed: int = 0
    capped: bool = False
    outcomes: Mapping[Outcome, int] = {}
    """Of the failed ones."""
    tenants: Sequence[Hurt] = ()
    """Those hurt most, the most hurt first."""
    tenants_hurt: int = 0
    shares: Sequence[Share] = ()
    traces: Sequence[str] = ()
    """Ids of traces of failed requests, in hex."""
    changes: Sequence[Change] = ()
    pressures: Sequence[Pressure] = ()
    comparison: Comparison | None = None


def stands_out(shares: Iterable[Share], requests: int, failed: int) -> Share | None:
    """The share that explains most of the failures, or none: more of the failures than of the requests, and that not by
    chance."""
    found = []
    for share in shares:
        if share.requests >= requests or share.failed < _MOST * failed:
            continue
        exposed = share.requests / requests
        expected = failed * exposed
        if share.failed - expected >= _CERTAIN * sqrt(expected * (1 - exposed)):
            found.append((share.failed / failed - exposed, -_DIMENSIONS.index(share.dimension), share))
    return max(found)[2] if found else None


def breakdown(story: Story) -> str:
    """Where the failures are, in one sentence; empty where too little is known."""
    share = stands_out(story.shares, story.requests, story.failed) if story.failed else None
    if share is None:
        many = story.failed >= _ENOUGH and bool(story.shares)
        return "No model, replica, tenant or prompt length stands out among the failures." if many else ""
    part, exposed = share.failed / story.failed, share.requests / story.requests
    what = f"{share.dimension} {share.value}"
    return f"Stands out: {what} has {share.failed} of {story.failed} failures ({part:.0%}) and {exposed:.0%} of the requests."


def signs(story: Story, since: datetime) -> list[str]:
    """What else happened when it began that may be the cause, the strongest first: a change, an engine without memory to go on,
    a burst, a cache that was lost."""
    before = [change for change in story.changes if change.at <= since + _TOLD_LATE]
    found = [_change(change, since) for change in before[-1:]]
    found += _pressure(story.pressures)
    if story.comparison is not None:
        found += [*_burst(story.comparison), *_cache(story.comparison)]
    return found


def _change(change: Change, since: datetime) -> str:
    whose = change.replica or change.model or "all replicas"
    apart = change.at - since
    side = "before it began" if apart <= timedelta(0) else "after it began"
    return f"{change.kind.value} of {whose} ({change.source}) at {clock(change.at)}, {span(abs(apart))} {side}"


def _pressure(pressures: Iterable[Pressure]) -> list[str]:
    hard = [
        one
        for one in pressures
        if one.preemptions > 0 or (one.kv_cache_usage_ratio is not None and one.kv_cache_usage_ratio >= _FULL)
    ]
    if not hard:
        return []
    worst = max(hard, key=lambda one: (one.preemptions, one.kv_cache_usage_ratio or 0.0))
    usage = "" if worst.kv_cache_usage_ratio is None else f"KV cache {worst.kv_cache_usage_ratio:.0%} full, "
    waiting = "" if worst.requests_waiting is None else f", {worst.requests_waiting:.0f} requests waiting"
    more = f"; {len(hard) - 1} more as well" if len(hard) > 1 else ""
    return [f"{worst.replica} is short of KV cache: {usage}{worst.preemptions:.0f} preemptions{waiting}{more}"]


def _burst(comparison: Comparison) -> list[str]:
    now, before = comparison.tenant_now, comparison.tenant_before
    if comparison.tenant is None or not now.minutes or comparison.before.minutes < _LEAST_MINUTES:
        return []
    rate, usual = now.requests / now.minutes, before.requests / comparison.before.minutes
    # Of a fleet in which everybody sends more, no one tenant is to blame.
    fleet = comparison.now.requests / max(1, comparison.now.minutes) - rate
    fleet_before = comparison.before.requests / comparison.before.minutes - usual
    if rate < _BURST * max(usual, 1.0) or rate - usual <= fleet - fleet_before:
        return []
    return [f"tenant {comparison.tenant} sends {rate:.0f} requests a minute, {usual:.0f} in the hour before"]


def _cache(comparison: Comparison) -> list[str]:
    now, before = comparison.now, comparison.before
    if min(now.cacheable_tokens, before.cacheable_tokens) < _LEAST_TOKENS or before.minutes < _LEAST_MINUTES:
        return []
    rate, usual = now.cached_tokens / now.cacheable_tokens, before.cached_tokens / before.cacheable_tokens
    return [f"cache hits fell to {rate:.0%}, from {usual:.0%} in the hour before"] if usual - rate >= _COLLAPSE else []


class Exhaustion(NamedTuple):
    """When an error budget is used up if it goes on as in the last minutes: the estimate, and the ends of its interval."""

    expected: timedelta
    soonest: timedelta
    latest: timedelta


def exhaustion(period: Tally, recent: Tally, recent_seconds: int, budget: float) -> Exhaustion | None:
    """Time until a budget is gone at the present rate; ``None`` where it is gone, or where too few fail to tell.

    The interval holds 95 % by Poisson's law for failures that are independent (Wilson and Hilferty's approximation). Where they
    come in runs it is too narrow.

    :param budget: share of requests that may fail, 0 to 1
    """
    left = budget * (period.good + period.bad) - period.bad
    if left <= 0 or recent.bad == 0:
        return None
    allowed = budget * (recent.good + recent.bad)
    low, high = _poisson(recent.bad)
    # What the budget allows in the same time grows back as the period rolls on.
    if low <= allowed:
        return None
    expected, soonest, latest = (left * recent_seconds / (failed - allowed) for failed in (recent.bad, high, low))
    return Exhaustion(timedelta(seconds=expected), timedelta(seconds=soonest), timedelta(seconds=latest))


def _poisson(count: int) -> tuple[float, float]:
    """The ends of the 95 % interval of a Poisson mean, one event or more."""
    low = count * (1 - 1 / (9 * count) - 1.96 / (3 * sqrt(count))) ** 3
    more = count + 1
    return low, more * (1 - 1 / (9 * more) + 1.96 / (3 * sqrt(more))) ** 3


def span(time: timedelta) -> str:
    """A length of time as a person says it: ``40 s``, ``7 min``, ``3 h 10 min``, ``12 days``."""
    seconds = int(time.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    hours, minutes = divmod(seconds // 60, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"
