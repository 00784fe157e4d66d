from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import template
from collector.assemble import Group
from collector.config import Attributes
from collector.dialects import recognise
from collector.hash_key import HashKey
from collector.ingest import allow_list
from collector.moment import moment
from collector.normalise import Policy, normalise
from collector.otlp.otlp_json import decode_json
from collector.request import TokenProvenance
from collector.span import Span, SpanKind, StatusCode, Value
from tests.collector.dialects.example import EXAMPLES
from tests.collector.dialects.sent import decoded

_CAPTURES = Path(__file__).parents[1] / "data" / "spans"
_POLICY = Policy(
    retention=timedelta(days=30),
    engine_retention=timedelta(days=14),
    clock_skew=timedelta(hours=1),
    cluster="default",
    environment="production",
    attributes=Attributes(end_user=("who",), session=("visit",)),
    deadline_seconds=30.0,
)
_POLICIES = (
    _POLICY,
    replace(_POLICY, hash_key=HashKey(1, b"k" * 16)),
    replace(_POLICY, tenant="of the token", attributes=Attributes()),
)


def _known() -> list[Span]:
    """A captured span of each layout of each producer, and an example of each dialect."""
    allow = allow_list(_POLICY)
    found: dict[object, Span] = {}
    for file in sorted(_CAPTURES.glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            for span in decode_json(line, allow).spans:
                dialect = recognise(span)
                if dialect is not None:
                    found.setdefault((dialect.name, tuple(span.attributes)), span)
    for example in EXAMPLES.values():
        for span in decoded(example.sent, policy=_POLICY):
            found.setdefault(id(example), span)
    return list(found.values())


_SPANS = _known()
_END_NS = max(span.end_ns for span in _SPANS)
_NOW = moment(_END_NS // 1000)
_ODD: tuple[Value, ...] = (
    *(0, 1, 2, 7, -1, 20, 100_000_001, 2**31, True, False, 0.0, -0.0, 1.0, 0.5, 7.0, 86_401.0, float("inf"), float("nan")),
    *("", "1", "0", "7", '"x"', "none", "None", "true", "x" * 256, "x" * 257, "2026-01-01T00:00:00Z", "stop", "chat"),
    *(("stop",), ("1",), (1,), (True,), ()),
)


_TIMES = st.tuples(
    st.sampled_from([0, 999, 1500, -(2**61), 2**51]),
    st.sampled_from([0, 1, 1001, 2_000_000_123, 40 * 10**9, 86_400 * 10**9, 86_400 * 10**9 + 1, -5]),
)
_ASPECTS: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(SpanKind),
    "status": st.sampled_from(StatusCode),
    "trace_id": st.sampled_from([b"t" * 16, b"u" * 16]),
    "trace_state": st.sampled_from(["", "ot=th:8", "ot=th:c", "x"]),
    "resource": st.sampled_from([{}, {"tenant.id": "a"}, {"tenant.id": 1}, {"tenant.id": True}, {"who": "a"}, {"who": "b"}]),
    "scope_version": st.sampled_from(["1", "2"]),
}


@st.composite
def _alike(draw: st.DrawFn) -> list[Span]:
    """Spans of one producer that differ in a thing or two, each of them twice: the first of its kind is remembered."""
    base = draw(st.sampled_from(_SPANS))
    end_ns = _END_NS
    base = base._replace(start_ns=end_ns - 2 * 10**9, end_ns=end_ns, events=base.events if draw(st.integers(0, 9)) == 0 else ())
    varied = draw(st.lists(st.sampled_from([*base.attributes, "who", "visit"]), min_size=1, max_size=2))
    values = draw(st.lists(st.sampled_from(_ODD), min_size=1, max_size=4))
    aspect = draw(st.sampled_from([*_ASPECTS, None, None]))
    spans = [base]
    for _ in range(draw(st.integers(2, 5))):
        said = {key: draw(st.sampled_from([*values, base.attributes.get(key, "someone")])) for key in varied}
        span = base._replace(attributes={**base.attributes, **said})
        if aspect is not None:
            span = span._replace(**{aspect: draw(_ASPECTS[aspect])})
        elif draw(st.booleans()):
            after_ns, lasts_ns = draw(_TIMES)
            span = span._replace(start_ns=end_ns + after_ns - lasts_ns, end_ns=end_ns + after_ns)
        spans.append(span)
    return draw(st.permutations(spans + spans))


def _group(span: Span) -> Group | None:
    dialect = recognise(span)
    return None if dialect is None else Group(span, dialect)


@settings(max_examples=400)
@given(st.sampled_from(_POLICIES), _alike())
def test_what_is_remembered_changes_no_request_and_no_reject(policy: Policy, spans: list[Span]) -> None:
    remembering = replace(policy)
    for group in filter(None, map(_group, spans)):
        # A policy that is new remembers nothing. Compared by what they print, which tells 1 from 1.0 and True.
        assert repr(normalise(group, replace(policy), _NOW)) == repr(normalise(group, remembering, _NOW))


def _numbered(number: int) -> Span:
    return Span(
        trace_id=number.to_bytes(16, "big"),
        span_id=b"s" * 8,
        parent_span_id=b"",
        trace_state="",
        kind=SpanKind.SERVER,
        start_ns=_END_NS - 10**9,
        end_ns=_END_NS,
        status=StatusCode.UNSET,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": f"model-{number % 7}",
            "gen_ai.usage.input_tokens": number,
            "gen_ai.response.finish_reasons": ("stop",),
        },
        events=(),
        resource={},
        scope="gateway",
        scope_version="1",
    )


def test_a_span_like_one_before_it_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = replace(_POLICY)
    group = _group(_numbered(1))
    assert group is not None
    first = normalise(group, policy, _NOW)
    monkeypatch.setattr("collector.normalise.read_attempt", None)
    assert first == normalise(group, policy, _NOW)


def test_what_a_producer_says_with_a_count_is_asked_of_each_span() -> None:
    policy = replace(_POLICY)
    found = []
    for cached in (4, 0, 4, 0):
        span = _numbered(7)
        said: dict[str, Value] = {
            "litellm.call_type": "acompletion",
            "litellm.call_id": "a",
            "gen_ai.provider.name": "openai",
            "gen_ai.usage.cache_creation.input_tokens": 0,
            "gen_ai.usage.cache_read.input_tokens": cached,
        }
        group = _group(span._replace(attributes={**span.attributes, **said}))
        assert group is not None
        found.append(getattr(normalise(group, policy, _NOW), "token_provenance", None))
    # Two zeros: it counted by itself.
    assert [TokenProvenance.REPORTED, TokenProvenance.ESTIMATED] * 2 == found


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MOST_TEMPLATES", 3)
    policy = replace(_POLICY)
    for number in range(50):
        group = _group(_numbered(number))
        assert group is not None
        request = normalise(group, policy, _NOW)
        assert (f"model-{number % 7}", number) == (getattr(request, "model", None), getattr(request, "input_tokens", None))
    assert sum(len(plan.templates) for plan in policy.templates._plans.values()) <= 3
