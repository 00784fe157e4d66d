from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.config import Attributes
from collector.error_sign import ErrorSign
from collector.fragment import Hashed, Seal, Unreadable, unseal
from collector.hash_key import HashKey
from collector.ingest import seal_of
from collector.request import Outcome
from collector.span import Span, SpanEvent, SpanKind, StatusCode, Value
from tests.collector.closing import POLICY

KEY = HashKey(1, b"0123456789abcdef")
LEAVES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(st.characters(codec="utf-8"))
)
VALUES: st.SearchStrategy[Value] = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
ATTRIBUTES = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=20), VALUES, max_size=4)
SIGNS = st.none() | st.builds(ErrorSign, st.sampled_from(Outcome), st.integers(0, 99), st.none() | st.integers(0, 10**6))
TIMES = st.integers(0, 2**64 - 1)
SPANS = st.builds(
    Span,
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=8, max_size=8),
    st.binary(max_size=8),
    st.text(st.characters(codec="utf-8"), max_size=9),
    st.sampled_from(SpanKind),
    TIMES,
    TIMES,
    st.sampled_from(StatusCode),
    ATTRIBUTES,
    st.lists(st.builds(SpanEvent, st.just("exception"), TIMES, ATTRIBUTES, SIGNS), max_size=2).map(tuple),
    ATTRIBUTES,
    st.just("scope"),
    st.just("1.0"),
    SIGNS,
)


def span(**attributes: Value) -> Span:
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return Span(b"t" * 16, b"s" * 8, b"", "", SpanKind.CLIENT, 1, 2, StatusCode.OK, named, (), dict(named), "litellm", "1")


@given(SPANS)
def test_span_comes_back_as_it_was(one: Span) -> None:
    fragment = Seal(frozenset(), None)(one, "acme")
    back = unseal(fragment.payload)
    assert one == back
    assert repr(one) == repr(back)  # True is not 1
    assert ("acme", one.trace_id, one.span_id) == (fragment.tenant, fragment.trace_id, fragment.span_id)


def test_ids_of_people_are_hashed_before_they_are_kept() -> None:
    fragment = Seal(frozenset({"enduser.id"}), KEY)(span(enduser__id="alice\0", tenant__id="acme"), None)
    assert b"alice" not in fragment.payload
    back = unseal(fragment.payload)
    assert {"enduser.id": KEY.hash("alice").hex(), "tenant.id": "acme"} == back.attributes == back.resource
    assert isinstance(back.attributes["enduser.id"], Hashed)
    assert not isinstance(back.attributes["tenant.id"], Hashed)


def test_ids_of_people_are_dropped_without_a_key() -> None:
    fragment = Seal(frozenset({"enduser.id"}), None)(span(enduser__id="alice"), None)
    assert ({}, b"alice" in fragment.payload) == (unseal(fragment.payload).attributes, False)


def test_what_is_somebody_s_id_and_a_tenant_too_is_kept_as_a_row_would_keep_it() -> None:
    policy = replace(POLICY, attributes=Attributes(tenant=("enduser.id",)), hash_key=KEY)
    kept = unseal(seal_of(policy)(span(enduser__id="alice", session__id="s-1"), None).payload).attributes
    assert {"enduser.id": "alice", "session.id": KEY.hash("s-1").hex()} == kept


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x02\x90", b"\x01\x90", b"\x01\xff\xff", Seal(frozenset(), None)(span(), None).payload[:-2]]
)
def test_what_this_version_did_not_write_is_unreadable(payload: bytes) -> None:
    with pytest.raises(Unreadable):
        unseal(payload)
