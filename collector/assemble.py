"""Spans of one trace → the requests in it. Pure.

A request is one call as one party saw it, and a trace holds it many times over: the application's, the gateway's and the
engine's spans, wrappers that repeat what they wrap, the HTTP request around a gateway's attempts. Each party gives one request:

- An engine's span is a request by itself.
- Of calls of one party inside each other the innermost that says how it went is the request; those around it are merged.
- Calls that happen inside an HTTP request of their gateway are attempts at that request (``Dialect.enclosed``).
- Of several gateways on the way the outermost is the request, and those inside fill in what it does not know.
- An HTTP request of which another span says more is merged; with nothing else it is a request by itself.

A gateway's spans come in any order and in different bodies. ``closing=False`` says that more may come: what could still change
waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from collector.call import Call, attempt_before, repeated
from collector.dialects import Dialect, Role, recognise
from collector.request import ObservedBy
from collector.span import Span, SpanKind

SLACK_NS = 50_000_000
"""How far a call may reach over the envelope that it is inside: the two are timed in different places."""
_LARGEST_TRACE = 512
"""Spans of a trace that are put together at once while more may come: the work grows with the square of it, and a sender's body
of a single trace must not keep all others waiting."""
_DEEPEST = 64
"""Ancestors that are looked at: no real call is nested so deep, and a loop of parents ends there."""


class Group(NamedTuple):
    """One request: the call that decides, with the dialect that reads it, and what belongs to it.

    ``earlier`` are attempts before the deciding one; ``inner`` is the same request as gateways further inside saw it.
    """

    span: Span
    dialect: Dialect
    envelope: Span | None = None
    earlier: tuple[Span, ...] = ()
    parts: tuple[Span, ...] = ()
    inner: tuple[Group, ...] = ()

    @property
    def outermost(self) -> Span:
        """The span that says who it is, when it began and when it ended."""
        return self.envelope or self.span

    @property
    def members(self) -> tuple[Span, ...]:
        """Every span of it but those of ``inner``, the outermost first."""
        envelope = () if self.envelope is None else (self.envelope,)
        return (*envelope, self.span, *self.earlier, *self.parts)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every span of it."""
        return (*self.members, *(span for group in self.inner for span in group.spans))

    @property
    def size(self) -> int:
        """Spans that it is made of."""
        return len(self.members) + sum(group.size for group in self.inner)


class Assembled(NamedTuple):
    """What spans came to. ``len(groups) + merged + ignored + len(waiting)`` is their number."""

    groups: tuple[Group, ...]
    merged: int
    ignored: int
    waiting: tuple[Span, ...] = ()


def assemble(spans: Sequence[Span], *, closing: bool = True) -> Assembled:
    """Group spans of any number of traces. A span that is there twice counts once as part of its request."""
    traces: dict[bytes, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    groups: list[Group] = []
    waiting: list[Span] = []
    ignored = 0
    for trace in traces.values():
        if len(trace) == 1:
            # The usual trace of a body: one span, which is a request by itself or nothing.
            dialect = recognise(trace[0])
            if dialect is None:
                ignored += 1
                continue
            if dialect.role is Role.CALL and not dialect.enclosed and not dialect.awaits(trace[0]):
                groups.append(Group(trace[0], dialect))
                continue
        for piece in _pieces(trace, closing):
            found = _Trace(piece).assemble(closing)
            groups += found.groups
            waiting += found.waiting
            ignored += found.ignored
    return Assembled(tuple(groups), len(spans) - len(groups) - ignored - len(waiting), ignored, tuple(waiting))


def _pieces(trace: list[Span], closing: bool) -> Iterator[list[Span]]:
    """A trace, or stretches of one that is too large to compare everything in it: what belongs together waits for itself."""
    if closing or len(trace) <= _LARGEST_TRACE:
        return iter([trace])
    trace.sort(key=lambda span: (span.start_ns, -span.end_ns))
    return (trace[start : start + _LARGEST_TRACE] for start in range(0, len(trace), _LARGEST_TRACE))


class _Trace:
    """The spans of one trace, in an order that does not depend on how they came."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._by_id = {span.span_id: span for span in spans}
        self._calls: dict[bytes, Call] = {}
        self._envelopes: dict[bytes, Call] = {}
        self._parts: list[Call] = []
        self._ignored = 0
        for span in sorted(self._by_id.values(), key=lambda span: (span.end_ns, -span.start_ns, span.span_id)):
            dialect = recognise(span)
            if dialect is None:
                self._ignored += 1
            elif dialect.role is Role.CALL:
                self._calls[span.span_id] = Call(span, dialect)
            elif dialect.role is Role.ENVELOPE:
                self._envelopes[span.span_id] = Call(span, dialect)
            else:
                self._parts.append(Call(span, dialect))

    def assemble(self, closing: bool) -> Assembled:
        """The requests of the trace."""
        groups = self._groups(closing)
        groups, stray = self._with_parts(groups)
        complete, waiting = [], []
        for group in self._merge(groups):
            if closing or (is_complete(group) and (group.parts or not group.dialect.awaits(group.span))):
                complete.append(group)
            else:
                waiting += [span for one in (group, *group.inner) for span in one.members]
        if not closing:
            waiting += stray
        return Assembled(tuple(complete), 0, self._ignored + (len(stray) if closing else 0), tuple(waiting))

    def _ancestors(self, span: Span) -> Iterator[Span]:
        for _ in range(_DEEPEST):
            parent = self._by_id.get(span.parent_span_id)
            if parent is None or parent is span:
                return
            yield parent
            span = parent

    def _groups(self, closing: bool) -> list[Group]:
        """Calls by themselves, attempts by the request that they are inside, and HTTP requests that have none."""
        wrappers = self._wrappers()
        groups, attempts = [], defaultdict(list)
        for id, call in self._calls.items():
            if call.dialect.enclosed:
                attempts[self._request_of(call)].append(call)
            elif id not in wrappers:
                groups.append(Group(call.span, call.dialect))
        for key, calls in attempts.items():
            envelope = self._envelopes.pop(key) if isinstance(key, bytes) and key in self._envelopes else None
            groups.append(self._group(calls, envelope))
        alone = [one for one in self._envelopes.values() if not closing or one.dialect.stands_alone(one.span)]
        self._ignored += len(self._envelopes) - len(alone)
        return groups + [Group(envelope.span, envelope.dialect) for envelope in alone]

    def _wrappers(self) -> set[bytes]:
        """Calls that only wrap another call of the same party."""
        found = set()
        for call in self._calls.values():
            if call.party is ObservedBy.ENGINE or call.dialect.enclosed or not call.says_how_it_went:
                continue
            for above in self._ancestors(call.span):
                around = self._calls.get(above.span_id)
                if around is not None and around.wraps(call):
                    found.add(above.span_id)
        return found

    def _request_of(self, call: Call) -> bytes | str:
        """What attempts at one request share: the envelope, or the gateway's own id, or the call that they are inside."""
        envelope = self._envelope_of(call.span)
        if envelope is not None:
            return envelope
        above = [self._calls[one.span_id] for one in self._ancestors(call.span) if one.span_id in self._calls]
        outer = next((one for one in reversed(above) if one.dialect.enclosed), call)
        if outer.request_id is not None:
            return f"id {outer.request_id}"
        before = attempt_before(outer, self._calls.values()) if outer.is_fallback else None
        return outer.span.span_id if before is None else self._request_of(before)

    def _envelope_of(self, span: Span) -> bytes | None:
        """The HTTP request that a call is inside: an ancestor, or the closest one of the trace by time.

        Time decides where the spans between are not known, or where the call hangs beside its server span, under the caller.
        """
        above = next((one.span_id for one in self._ancestors(span) if one.span_id in self._envelopes), None)
        if above is not None or span.kind is SpanKind.SERVER:
            return above
        around = [
            one.span for one in self._envelopes.values() if _is_inside(span, one.span) and not self._is_above(span, one.span)
        ]
        closest = min(around, key=lambda one: (one.end_ns - one.start_ns, one.span_id), default=None)
        return None if closest is None else closest.span_id

    def _group(self, calls: Sequence[Call], envelope: Call | None) -> Group:
        """Attempts at one request. A call inside an attempt that went well tells of the same attempt."""
        well = {call.span.span_id for call in calls if not call.failed}
        inside = [call for call in calls if any(above.span_id in well for above in self._ancestors(call.span))]
        attempts = [call for call in calls if call not in inside]
        good = [call for call in attempts if not call.failed]
        deciding = good[-1] if good and not (envelope is not None and envelope.failed) else attempts[-1]
        return Group(
            deciding.span,
            deciding.dialect,
            envelope=None if envelope is None else envelope.span,
            earlier=tuple(call.span for call in attempts if call is not deciding),
            parts=tuple(call.span for call in inside),
        )

    def _with_parts(self, groups: Sequence[Group]) -> tuple[list[Group], list[Span]]:
        """Each part with the request that is closest to it; and those that have none."""
        parts: dict[int, list[Span]] = defaultdict(list)
        owner = {span.span_id: index for index, group in enumerate(groups) for span in group.members}
        under = {
            (above.span_id, _party(groups[index])): index
            for id, index in owner.items()
            for above in self._ancestors(self._by_id[id])
        }
        stray = []
        for part in self._parts:
            above = next((owner[one.span_id] for one in self._ancestors(part.span) if one.span_id in owner), None)
            if above is None:
                above = under.get((part.span.span_id, part.party))
            near = (
                index
                for index, group in enumerate(groups)
                if _party(group) is part.party and _is_inside(part.span, group.outermost)
            )
            index = above if above is not None else next(near, None)
            if index is None:
                stray.append(part.span)
            else:
                parts[index].append(part.span)
        return [group._replace(parts=(*group.parts, *parts[index])) for index, group in enumerate(groups)], stray

    def _merge(self, groups: Sequence[Group]) -> list[Group]:
        """Of the gateways on the way of one request the outermost that says something, with the others inside it."""
        owner = {span.span_id: group for group in groups if _party(group) is ObservedBy.GATEWAY for span in group.members}
        below: dict[bytes, list[Group]] = defaultdict(list)
        top = []
        for group in groups:
            around = (owner[one.span_id] for one in self._ancestors(group.outermost) if one.span_id in owner)
            # The attempt that decides may be inside an earlier one of the same request.
            above = next((one for one in around if one is not group), None)
            if _party(group) is not ObservedBy.GATEWAY or above is None:
                top.append(group)
            else:
                below[above.outermost.span_id].append(group)
        found = [one for group in top for one in self._collapse(group, below)]
        again = repeated(Call(one.span, one.dialect) for one in found if one.dialect.role is Role.ENVELOPE)
        return [one for one in found if one.span.span_id not in again]

    def _collapse(self, group: Group, below: dict[bytes, list[Group]]) -> list[Group]:
        inside = [one for child in below.get(group.outermost.span_id, ()) for one in self._collapse(child, below)]
        if group.dialect.role is not Role.ENVELOPE:
            calls = [one for one in inside if one.dialect.role is not Role.ENVELOPE]
            return [group._replace(inner=tuple(part for one in calls for part in (one._replace(inner=()), *one.inner)))]
        if any(one.dialect.role is not Role.ENVELOPE for one in inside) or self._has_client_call(group.span):
            return [one for one in inside if one.dialect.role is not Role.ENVELOPE]
        return [group]

    def _has_client_call(self, envelope: Span) -> bool:
        return any(self._is_above(envelope, call.span) for call in self._calls.values() if call.party is ObservedBy.CLIENT)

    def _is_above(self, span: Span, other: Span) -> bool:
        return any(one is span for one in self._ancestors(other))


def _party(group: Group) -> ObservedBy:
    return group.dialect.observed_by(group.span)


def _is_inside(span: Span, other: Span) -> bool:
    return other.start_ns - SLACK_NS <= span.start_ns and span.end_ns <= other.end_ns + SLACK_NS


def is_complete(group: Group) -> bool:
    """Whether nothing that is still expected can change what the group is.

    Within an HTTP request that went well a failed attempt is followed by one that was better. Where a call's tokens, or the
    span that names it, are still missing, another span of the same producer has them.
    """
    if group.dialect.role is Role.ENVELOPE:
        return False
    if not group.dialect.enclosed:
        return True
    if group.envelope is None:
        return any(span.kind is SpanKind.SERVER or not span.parent_span_id for span in (group.span, *group.earlier))
    calls = [Call(span, dialect) for span in (group.span, *group.earlier, *group.parts) if (dialect := recognise(span))]
    if calls[0].failed:
        envelope = recognise(group.envelope)
        return envelope is not None and Call(group.envelope, envelope).ended_badly
    return any(call.says_tokens for call in calls) and not group.dialect.secondary
