from __future__ import annotations

import dataclasses
import types
import typing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.request import ObservedBy, Operation, Outcome, Request, TokenProvenance, TrafficClass
from collector.spool.frame import scan
from collector.spool.record import VERSION, UnknownRecord, decode, encode

GOLDEN = Path(__file__).parents[2] / "data" / "spool-v1.segment"
"""Written once, by the first llm-slo that had a spool. Whoever has such a file expects its requests after an upgrade."""

FULL = Request(
    trace_id=bytes(range(16)),
    span_id=bytes(range(8)),
    ended_at=datetime(2026, 5, 1, 12, 0, 1, 234567, tzinfo=UTC),
    started_at=datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC),
    observed_by=ObservedBy.CLIENT,
    tenant="größte Mandantin",
    api_key_hash="sha256:ab",
    api_key_alias="batch jobs",
    end_user_hash=b"\xff\x00user",
    session_hash=b"\xfesession",
    hash_key_id=3,
    operation=Operation.RERANK,
    traffic_class=TrafficClass.SYNTHETIC,
    requested_model="tiny",
    response_model="tiny-2",
    stream=False,
    max_tokens=512,
    choice_count=2,
    provider="vllm",
    replica="vllm-0",
    revision="abc",
    environment="staging",
    cluster="east",
    request_id="chatcmpl-1",
    response_id="resp-1",
    outcome=Outcome.OOM,
    http_status=500,
    finish_reason="error",
    error_class="OutOfMemoryError",
    error_pattern=2,
    attempted_tokens=70_000,
    fallback=True,
    fallback_after=Outcome.TIMEOUT,
    retries=1,
    gateway_cache_hit=True,
    input_tokens=2**40,
    cached_tokens=0,
    output_tokens=7,
    reasoning_tokens=5,
    token_provenance=TokenProvenance.REPORTED,
    reported_cost_usd=0.1,
    ttft_seconds=0.25,
    latency_seconds=1.234567,
    queue_seconds=0.0,
    prefill_seconds=0.125,
    decode_seconds=1.0,
    preemptions=4,
    dialect="gen_ai",
    producer="opentelemetry.instrumentation.openai",
    producer_version="1.2.3",
    sampling_weight=8.0,
)


def strategy(hint: object) -> st.SearchStrategy[object]:
    """Values of a field."""
    if isinstance(hint, types.UnionType):
        return st.one_of([strategy(part) for part in typing.get_args(hint)])
    if hint is datetime:
        return st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
    if hint is int:
        return st.integers(-(2**63), 2**63 - 1)
    if hint is float:
        return st.floats(allow_nan=False)
    assert isinstance(hint, type)
    return st.from_type(hint)


REQUESTS = st.builds(Request, **{name: strategy(hint) for name, hint in typing.get_type_hints(Request).items()})


@given(st.lists(REQUESTS, max_size=3))
def test_requests_come_back_as_they_were(requests: list[Request]) -> None:
    assert requests == decode(VERSION, encode(requests))


def test_every_field_differs_from_its_default_in_what_is_kept_for_later_versions() -> None:
    unset = [field.name for field in dataclasses.fields(Request) if getattr(FULL, field.name) == field.default]
    assert [] == unset


def test_golden_record_of_version_1_is_still_read() -> None:
    records = [decode(piece.header.version, piece.payload) for piece in scan(GOLDEN.read_bytes()) if piece.header]
    assert [[FULL, dataclasses.replace(FULL, span_id=bytes(8))]] == records


@pytest.mark.parametrize(
    ("version", "payload"),
    [(VERSION + 1, encode([FULL])), (VERSION, b"not compressed"), (VERSION, encode([FULL])[:-3])],
    ids=["later version", "another format", "cut off"],
)
def test_record_of_another_llm_slo_is_told_from_a_fault_of_ours(version: int, payload: bytes) -> None:
    with pytest.raises(UnknownRecord, match=f"version {version}"):
        decode(version, payload)


def test_a_thousand_requests_take_a_small_part_of_what_they_are() -> None:
    requests = [dataclasses.replace(FULL, span_id=number.to_bytes(8, "big")) for number in range(1000)]
    assert len(encode(requests)) < 50 * len(requests)
