"""The closer: what waited for the rest of its request becomes rows when it is whole, or when nothing more came for a while.

Every collector runs one. A trace is looked at by the collector that added to it last, and once it has been quiet for QUIET by
whichever comes first: the rows and the end of the waiting are one transaction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from psycopg import Error

from collector import telemetry
from collector.assemble import SLACK_NS, Group, assemble, is_complete
from collector.batch import count_written
from collector.dialects import Role
from collector.fragment import Fragment, Trace, Unreadable, unseal
from collector.normalise import Policy, normalise
from collector.objective import Objective, judge
from collector.request import ObservedBy, Reject, RejectReason, Request
from collector.span import Span
from collector.store.fragment import LARGEST_READ, LARGEST_TRACE, FragmentStore, Seen, Taking
from collector.store.request import Closing, Judged, RequestStore
from collector.waitlist import Waitlist

QUIET = timedelta(seconds=5)
"""What nothing was added to for so long is closed as it is."""
LONGEST = timedelta(seconds=30)
"""A trace that is never quiet, an agent's of many calls, is closed as it is when the oldest of what waits is as old as this."""
TRACES_A_ROUND = 512
ROUNDS = 50
"""Rounds of one call at most: the rest waits for the next one, and everybody else has his turn."""
BEFORE, AFTER = timedelta(minutes=1), timedelta(minutes=10)
"""How much earlier and later than a straggler the row may have ended that it belongs to."""
TOGETHER = timedelta(minutes=15)
"""Stragglers that are looked for at once are no further apart: it costs as much as rows ended in the time of all of them."""
_SLACK = timedelta(microseconds=SLACK_NS // 1000)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_US = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)

log = structlog.get_logger()


class Settled(NamedTuple):
    """What fragments of one trace come to. ``fragments`` of them leave: groups + merged + ignored + unreadable."""

    taking: Taking
    groups: tuple[Group, ...]
    merged: int
    ignored: int
    unreadable: int


def settle(trace: Trace, fragments: Sequence[Fragment], *, closing: bool) -> Settled:
    """Put a trace's fragments together. Unless this is the end of it, what may still change stays."""
    spans: list[Span] = []
    unreadable = []
    for fragment in fragments:
        try:
            spans.append(unseal(fragment.payload))
        except Unreadable as error:
            unreadable.append(fragment.span_id)
            log.error("a fragment cannot be read", reason=str(error))
    # A trace that is as large as what is read of it at once has more, and would stand in the way of the rest.
    found = assemble(spans, closing=closing or len(fragments) >= LARGEST_TRACE)
    staying = {span.span_id for span in found.waiting}
    leaving = tuple(fragment.span_id for fragment in fragments if fragment.span_id not in staying)
    return Settled(Taking(trace, leaving), found.groups, found.merged, found.ignored, len(unreadable))


def is_straggler(group: Group) -> bool:
    """Whether it may be a part of a request that has its row already."""
    return group.envelope is None and not is_complete(group)


def belongs(part: Request, role: Role, seen: Iterable[Seen], tenant: str) -> bool:
    """Whether one of the rows of its trace is the request that a straggler is a part of.

    A call is part of a gateway's request that it is inside. An HTTP request gives way to whatever a gateway or a client says of
    a call inside it, and to a gateway's request around it. ``tenant`` is that of the token that the straggler came with.
    """
    for row in seen:
        if row.trace_id != part.trace_id or (tenant and row.tenant != tenant):
            continue
        around = row.started_at <= part.started_at + _SLACK and part.ended_at - _SLACK <= row.ended_at
        if role is not Role.ENVELOPE:
            another = None not in (row.request_id, part.request_id) and row.request_id != part.request_id
            if around and not another and row.observed_by is ObservedBy.GATEWAY:
                return True
            continue
        within = part.started_at - _SLACK <= row.started_at and row.ended_at <= part.ended_at + _SLACK
        if within or (around and row.observed_by is ObservedBy.GATEWAY):
            return True
    return False


class Closer:
    """Closes what is due. One per process; it has a store of its own."""

    def __init__(
        self,
        fragments: FragmentStore,
        store: RequestStore,
        waitlist: Waitlist,
        *,
        policy: Policy,
        objectives: Sequence[Objective],
        now: Callable[[], datetime],
    ) -> None:
        self._fragments = fragments
        self._store = store
        self._waitlist = waitlist
        self._policy = policy
        self._objectives = tuple(objectives)
        self._now = now

    async def __call__(self) -> None:
        """Close what is due, in rounds of a bounded size.

        :raises StoreUnavailable: when Postgres cannot be reached; what was due is closed when it has been quiet
        """
        self._waitlist.show(await self._fragments.count())
        for whole in (True, False):
            for _ in range(ROUNDS):
                if not await self._round(whole):
                    break

    async def _round(self, whole: bool) -> bool:
        """Close what has become whole, or else what is overdue. Returns whether there is more."""
        now = self._now()
        if whole:
            traces = self._waitlist.due(now, TRACES_A_ROUND)
        else:
            traces = (await self._fragments.overdue(QUIET, LONGEST, LARGEST_READ))[:TRACES_A_ROUND]
        if not traces:
            return False
        by_trace: dict[Trace, list[Fragment]] = defaultdict(list)
        for fragment in await self._fragments.read(traces):
            by_trace[fragment.trace].append(fragment)
        settled = [settle(trace, fragments, closing=not whole) for trace, fragments in by_trace.items()]
        settled = [one for one in settled if one.taking.span_ids]
        return await self._close(settled, now) if settled else False

    async def _close(self, settled: Sequence[Settled], now: datetime) -> bool:
        """Commit, and count what this process closed."""
        stragglers = [(one.taking.trace, group) for one in settled for group in one.groups if is_straggler(group)]
        windows = {trace: _window(group) for trace, group in stragglers}
        first = min((window.since for window in windows.values()), default=now)
        settled = [one for one in settled if windows.get(one.taking.trace, _Window(first, first)).since - first <= TOGETHER]
        rows: list[Seen] = []
        if stragglers:
            until = max(windows[one.taking.trace].until for one in settled if one.taking.trace in windows)
            rows = await self._fragments.seen({trace.trace_id for trace in windows}, first, until)
        outcomes = [_Outcome(one, self._results(one, rows, now)) for one in settled]
        try:
            return await self._commit(outcomes, now)
        except (Error, ValueError) as error:
            log.error("closed requests cannot be stored", error=type(error).__name__, traces=len(outcomes))
        return any([await self._commit_alone(outcome, now) for outcome in outcomes])

    async def _commit(self, outcomes: Sequence[_Outcome], now: datetime) -> bool:
        closed = await self._store.close([Closing(one.settled.taking, self._judged(one.results)) for one in outcomes], now)
        count_written(closed.written)
        for one in outcomes:
            if one.settled.taking.trace in closed.traces:
                _count(one)
                self._waitlist.leave(len(one.settled.taking.span_ids))
        return bool(closed.traces)

    async def _commit_alone(self, outcome: _Outcome, now: datetime) -> bool:
        """Something of a round cannot be stored, which must not keep the others waiting, nor itself for ever."""
        try:
            return await self._commit([outcome], now)
        except (Error, ValueError) as error:
            log.error("a closed request cannot be stored", error=type(error).__name__)
            unstorable = Reject(RejectReason.UNSTORABLE, "request", "", "a row that Postgres takes")
            return await self._commit([outcome._replace(results=[unstorable] * len(outcome.results))], now)

    def _judged(self, results: Iterable[Request | Reject | None]) -> tuple[Judged, ...]:
        return tuple(Judged(one, judge(one, self._objectives)) for one in results if isinstance(one, Request))

    def _results(self, settled: Settled, rows: Sequence[Seen], now: datetime) -> list[Request | Reject | None]:
        """The request of each group, or why there is none; ``None`` for one that has its row already."""
        tenant = settled.taking.trace.tenant
        policy = self._policy.of(tenant or None)
        results: list[Request | Reject | None] = []
        for group in settled.groups:
            result = normalise(group, policy, now)
            known = is_straggler(group) and isinstance(result, Request) and belongs(result, group.dialect.role, rows, tenant)
            results.append(None if known else result)
        return results


class _Outcome(NamedTuple):
    settled: Settled
    results: Sequence[Request | Reject | None]


class _Window(NamedTuple):
    since: datetime
    until: datetime


def _window(group: Group) -> _Window:
    """When the row has ended that a straggler is a part of: of a call after it, of an HTTP request also while it lasted."""
    span = group.outermost
    longest_ns = TOGETHER // timedelta(microseconds=1) * 1000
    start_ns = max(span.start_ns, span.end_ns - longest_ns) if group.dialect.role is Role.ENVELOPE else span.end_ns
    return _Window(_at(start_ns) - BEFORE, _at(span.end_ns) + AFTER)


def _count(outcome: _Outcome) -> None:
    """What a trace adds to the ledger, besides its rows and duplicates."""
    settled, results = outcome
    reasons = Counter(result.reason.value for result in results if isinstance(result, Reject))
    reasons[RejectReason.UNREADABLE.value] += settled.unreadable
    for reason, count in reasons.items():
        if count:
            telemetry.SPANS_REJECTED.labels(reason).inc(count)
    telemetry.SPANS_MERGED.inc(settled.merged + results.count(None))
    telemetry.SPANS_IGNORED.inc(settled.ignored)
    telemetry.SPANS_RECEIVED.inc(len(settled.taking.span_ids))


def _at(nanoseconds: int) -> datetime:
    """A span's time, as near as a window needs it; one that no calendar has is the nearest that one has."""
    return _EPOCH + timedelta(microseconds=min(nanoseconds // 1000, _LATEST_US))
