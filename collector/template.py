"""Requests that are alike: what most spans of a producer say again and again is worked out once.

A span of a call that went well differs from one before it in ids, times, counts and durations, and in little else. Its request
is a copy of the earlier one's with these filled in: they are read here only where they are what they should be. Of every other
span nothing is known here, and ``collector.normalise``, which says what a span means, reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, make_dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from collector.dialects import Dialect, located
from collector.dialects.dialect import never, unstated
from collector.field import LARGEST_INT4, LARGEST_SECONDS, LARGEST_TOKENS, LONGEST_TEXT
from collector.hash_key import HashKey
from collector.moment import bounds, moment
from collector.request import ObservedBy, Outcome, Request
from collector.sampling import sampling_weight
from collector.span import Attributes, Span

MOST_PLANS = 1024
MOST_TEMPLATES = 16_384
"""Kinds of requests that are remembered [about a kilobyte each]; then it begins anew."""

_NAMES = tuple(field.name for field in fields(Request))
_AT = {name: position for position, name in enumerate(_NAMES)}
_IDS = ("request_id", "response_id")
_COUNTS = {
    **dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"), LARGEST_TOKENS),
    **dict.fromkeys(("max_tokens", "preemptions"), LARGEST_INT4),
}
_DURATIONS = ("ttft_seconds", "queue_seconds", "prefill_seconds", "decode_seconds")
_PEOPLE = {"end_user": "end_user_hash", "session": "session_hash"}
_READ_HERE = frozenset({*_IDS, *_COUNTS, *_DURATIONS, *_PEOPLE, "latency_seconds", "reported_cost_usd"})
_INPUT, _CACHED = _AT["input_tokens"], _AT["cached_tokens"]
_TRACE, _SPAN, _STARTED, _ENDED = _AT["trace_id"], _AT["span_id"], _AT["started_at"], _AT["ended_at"]
_OBSERVED_BY = _AT["observed_by"]
_LATENCY, _COST, _WEIGHT, _HASH_KEY = (
    _AT["latency_seconds"],
    _AT["reported_cost_usd"],
    _AT["sampling_weight"],
    _AT["hash_key_id"],
)

_Draft: Any = make_dataclass("_Draft", _NAMES, slots=True, eq=False)
"""A request that is not frozen yet: one that is takes several times as long to make."""


class Names(NamedTuple):
    """What the configuration, and not the dialect, has read of a span."""

    decide: frozenset[str]
    """Attributes that decide something of the request, whatever the dialect."""
    end_user: tuple[str, ...]
    session: tuple[str, ...]


class Retention(NamedTuple):
    """Which ends are taken."""

    requests: timedelta
    engine_requests: timedelta
    clock_skew: timedelta


_LARGEST_NS = int(LARGEST_SECONDS) * 1_000_000_000


class _Unusual(Exception):
    """A value that is not what it should be."""


class _Plan:
    """How spans of one dialect are read that have the same attributes, of the same types."""

    def __init__(self, dialect: Dialect, attributes: Attributes, names: Names) -> None:
        present = frozenset(attributes)
        sources = located(dialect, present)
        decide = {one.key for field, found in sources.items() if field not in _READ_HERE for one in found}
        decide |= names.decide | set(dialect.error_types) | set(dialect.words)
        self.alike = alike = [key for key in attributes if key in decide]
        self.alike_of: Callable[[Attributes], object] = itemgetter(*alike) if alike else _nothing
        asked = (dialect.observed_by, dialect.finish_expected, dialect.estimates, dialect.synthetic, dialect.streams)
        self.predicates = [one for one in asked if one not in (never, unstated)]
        self.absent = dialect.absent
        first = {field: found[0] for field, found in sources.items() if field in _READ_HERE}
        self.ids = [(_AT[name], first[name].key) for name in _IDS if name in first]
        self.counts = [(_AT[name], first[name].key, largest) for name, largest in _COUNTS.items() if name in first]
        self.durations = [(_AT[name], *first[name]) for name in _DURATIONS if name in first]
        self.latency = first.get("latency_seconds")
        self.cost = first["reported_cost_usd"].key if "reported_cost_usd" in first else None
        self.people = [
            (_AT[hashed], next((key for key in configured if key in present), None) or first[name].key)
            for (name, hashed), configured in zip(_PEOPLE.items(), (names.end_user, names.session), strict=True)
            if name in first or not present.isdisjoint(configured)
        ]
        self.templates: dict[object, list[Any]] = {}
        # No floats among what decides: zero has a sign there.
        self.is_usual = (
            present.isdisjoint(dialect.first_token_times)
            and all(type(attributes[key]) in (str, int, bool, tuple) for key in alike)
            and all(type(attributes[key]) is str for _, key in (*self.ids, *self.people))
            and all(type(attributes[key]) is int for _, key, _ in self.counts)
            and all(type(attributes[key]) in (int, float) for _, key, _ in self.durations)
            and (self.latency is None or type(attributes[self.latency.key]) in (int, float))
            and (self.cost is None or type(attributes[self.cost]) is float)
        )


class Templates:
    """The requests of one policy. Called by one task at a time."""

    def __init__(self, names: Names, retention: Retention, hash_key: HashKey | None) -> None:
        self._names = names
        self._people = frozenset({*names.end_user, *names.session})
        self._retention = retention
        self._hash_key = hash_key
        self._plans: dict[object, _Plan] = {}
        self._size = 0

    def recall(self, span: Span, dialect: Dialect, now: datetime) -> Request | None:
        """The request of a span that is one by itself; ``None`` where nothing is known of it."""
        plan = self._plans.get(_layout(span, dialect))
        if plan is None or span.events or span.error_sign is not None:
            return None
        template = plan.templates.get(_key(plan, span))
        if template is None:
            return None
        values = template.copy()
        try:
            self._fill(values, plan, span.attributes)
            self._fill_times(values, plan, span, now)
        except _Unusual:
            return None
        request = _Draft(*values)
        request.__class__ = Request
        return request  # type: ignore[no-any-return]

    def learn(self, span: Span, dialect: Dialect, request: Request) -> None:
        """Remember the request of a span that is one by itself."""
        if request.outcome is not Outcome.OK or span.events or span.error_sign is not None:
            return
        if self._size >= MOST_TEMPLATES or len(self._plans) >= MOST_PLANS:
            self._plans.clear()
            self._size = 0
        layout = _layout(span, dialect)
        plan = self._plans.get(layout)
        if plan is None:
            plan = self._plans[layout] = _Plan(dialect, span.attributes, self._names)
        arrays = (value for key in plan.alike if isinstance(value := span.attributes[key], tuple))
        if plan.is_usual and self._people.isdisjoint(span.resource) and all(isinstance(part, str) for part in chain(*arrays)):
            plan.templates[_key(plan, span)] = [getattr(request, name) for name in _NAMES]
            self._size += 1

    def _fill(self, values: list[Any], plan: _Plan, attributes: Any) -> None:
        absent = plan.absent
        for position, key in plan.ids:
            values[position] = _text(attributes[key], absent)
        for position, key, largest in plan.counts:
            values[position] = count = attributes[key]
            if not 0 <= count <= largest:
                raise _Unusual
        if (cached := values[_CACHED]) is not None and ((whole := values[_INPUT]) is None or cached > whole):
            raise _Unusual
        for position, key, scale in plan.durations:
            values[position] = seconds = attributes[key] * scale + 0.0
            if not 0 <= seconds <= LARGEST_SECONDS:  # also false for NaN
                raise _Unusual
        if plan.cost is not None:
            values[_COST] = cost = attributes[plan.cost]
            if not 0 <= cost < math.inf:
                raise _Unusual
        if plan.people and self._hash_key is not None:
            for position, key in plan.people:
                values[position] = self._hash_key.hash(_text(attributes[key], absent))
            values[_HASH_KEY] = self._hash_key.id

    def _fill_times(self, values: list[Any], plan: _Plan, span: Span, now: datetime) -> None:
        trace_id, span_id, _, trace_state, _, start_ns, end_ns, *_ = span
        retention = self._retention
        lasts = retention.engine_requests if values[_OBSERVED_BY] is ObservedBy.ENGINE else retention.requests
        oldest_ns, newest_ns = bounds(now, lasts, retention.clock_skew)
        if not (oldest_ns <= end_ns <= newest_ns and 0 <= end_ns - start_ns <= _LARGEST_NS):
            raise _Unusual
        start, end = start_ns // 1000, end_ns // 1000
        values[_TRACE] = trace_id
        values[_SPAN] = span_id
        values[_STARTED] = moment(start)
        values[_ENDED] = moment(end)
        if trace_state:
            values[_WEIGHT] = sampling_weight(trace_state)
        if plan.latency is None:
            values[_LATENCY] = (end - start) / 1e6
            return
        attributes: Any = span.attributes
        values[_LATENCY] = seconds = attributes[plan.latency.key] * plan.latency.scale + 0.0
        if start_ns == end_ns or not 0 <= seconds <= LARGEST_SECONDS:
            raise _Unusual


def _layout(span: Span, dialect: Dialect) -> object:
    attributes = span.attributes
    # With their types: 1 and True are equal, and are not the same.
    return (dialect, *attributes, *map(type, attributes.values()))


def _key(plan: _Plan, span: Span) -> tuple[object, ...]:
    """What spans have in common whose requests are alike."""
    _, _, _, trace_state, kind, _, _, status, attributes, _, resource, scope, version, _ = span
    said = (*resource.items(), *map(type, resource.values())) if resource else None
    return (
        kind,
        status,
        scope,
        version,
        said,
        plan.alike_of(attributes),
        not trace_state,
        *[ask(span) for ask in plan.predicates],
    )


def _text(value: str, absent: frozenset[str]) -> str:
    if not 0 < len(value) <= LONGEST_TEXT or value[0] == '"' or "\0" in value or value in absent:
        raise _Unusual
    return value


def _nothing(attributes: Attributes) -> object:
    return None
