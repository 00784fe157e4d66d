from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.errors import MalformedBody
from collector.otlp.allow import Decoded
from collector.otlp.otlp_json import decode_json
from collector.otlp.protobuf import decode_protobuf
from collector.request import Outcome, RejectReason
from tests.collector.otlp.example import ALLOW

_TEXT = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(['{"n": 5, "m": [{"id": "x"}]}', '{"n": 1e400, "m": [{"id": "\\ud83d"}]}', "Usage(n=7)", "[", "x" * 4097]),
)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_FLOAT = st.floats(allow_nan=False)
_SIMPLE = st.one_of(
    _TEXT.map(lambda value: AnyValue(string_value=value)),
    _INT64.map(lambda value: AnyValue(int_value=value)),
    _FLOAT.map(lambda value: AnyValue(double_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
)
_VALUE = st.one_of(
    _SIMPLE,
    st.lists(_SIMPLE, max_size=3).map(lambda values: AnyValue(array_value=ArrayValue(values=values))),
    st.binary(max_size=4).map(lambda value: AnyValue(bytes_value=value)),
    st.just(AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=AnyValue(int_value=1))]))),
    st.just(AnyValue()),
)
_KEY = st.sampled_from(["a", "b", "c", "error.type", "exception.message", "exception.type", "document", "not.kept"])
_ATTRIBUTES = st.lists(st.builds(KeyValue, key=_KEY, value=_VALUE), max_size=6)
"""A key may be there twice."""
_TIME = st.integers(0, 2**64 - 1)
_ID = st.sampled_from([0, 1, 8, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
_SPAN = st.builds(
    Span,
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    parent_span_id=_ID,
    trace_state=_TEXT,
    kind=st.sampled_from(list(Span.SpanKind.values())),
    start_time_unix_nano=_TIME,
    end_time_unix_nano=_TIME,
    attributes=_ATTRIBUTES,
    events=st.lists(st.builds(Span.Event, name=_TEXT, time_unix_nano=_TIME, attributes=_ATTRIBUTES), max_size=2),
    status=st.builds(Status, message=_TEXT, code=st.sampled_from([0, 1, 2])),
)


def request(spans: list[Span], resource: list[KeyValue]) -> ExportTraceServiceRequest:
    body = ExportTraceServiceRequest()
    part = body.resource_spans.add()
    part.resource.attributes.extend(resource)
    scope_spans = part.scope_spans.add(spans=spans)
    scope_spans.scope.name = "scope"
    return body


class Spelling(NamedTuple):
    """How a producer writes JSON where it has a choice."""

    enumerations_by_name: bool
    ids_in_hex: bool
    """As OTLP has it; else in base64, as protobuf's JSON mapping has it."""
    snake_case: bool
    """Protobuf's own names of fields."""


def as_otlp_json(body: ExportTraceServiceRequest, spelling: Spelling) -> bytes:
    """Protobuf's JSON."""
    document: dict[str, Any] = MessageToDict(
        body,
        use_integers_for_enums=not spelling.enumerations_by_name,
        preserving_proto_field_name=spelling.snake_case,
    )
    if not spelling.ids_in_hex:
        return json.dumps(document).encode()
    spans_of, scopes_of, resources = (
        ("spans", "scope_spans", "resource_spans") if spelling.snake_case else ("spans", "scopeSpans", "resourceSpans")
    )
    names = ("trace_id", "span_id", "parent_span_id") if spelling.snake_case else ("traceId", "spanId", "parentSpanId")
    for resource_spans, raw_resource in zip(document.get(resources, []), body.resource_spans, strict=True):
        for scope_spans, raw_scope in zip(resource_spans.get(scopes_of, []), raw_resource.scope_spans, strict=True):
            for span, raw in zip(scope_spans.get(spans_of, []), raw_scope.spans, strict=True):
                ids = (raw.trace_id.hex(), raw.span_id.hex(), raw.parent_span_id.hex())
                span |= dict(zip(names, ids, strict=True))
    return json.dumps(document).encode()


def plain(decoded: Decoded) -> tuple[list[object], list[tuple[RejectReason, str]]]:
    """What both ways must agree on: every span whole, and of rejects the reason and the field."""
    return list(decoded.spans), [(reject.reason, reject.field) for reject in decoded.rejects]


@given(st.lists(_SPAN, max_size=3), _ATTRIBUTES, st.builds(Spelling, st.booleans(), st.booleans(), st.booleans()))
def test_protobuf_and_json_of_one_request_are_decoded_alike(
    spans: list[Span], resource: list[KeyValue], spelling: Spelling
) -> None:
    body = request(spans, resource)
    expected = plain(decode_protobuf(body.SerializeToString(), ALLOW))
    assert expected == plain(decode_json(as_otlp_json(body, spelling), ALLOW))
    assert len(spans) == len(expected[0]) + len(expected[1])


def texts(value: object) -> Iterator[str]:
    """Every text in something that was decoded."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, dict):
        yield from texts([*value.items()])


@given(st.lists(_SPAN, max_size=3), _ATTRIBUTES)
def test_every_text_that_is_kept_is_one_that_postgres_takes(spans: list[Span], resource: list[KeyValue]) -> None:
    for text in texts(decode_protobuf(request(spans, resource).SerializeToString(), ALLOW).spans):
        assert "\0" not in text
        assert text == text.encode().decode()


@given(st.binary(max_size=200))
@pytest.mark.parametrize("decode", [decode_protobuf, decode_json])
def test_bytes_that_are_no_body_are_malformed_or_hold_no_surprise(decode: Any, data: bytes) -> None:
    with suppress(MalformedBody):
        assert isinstance(decode(data, ALLOW), Decoded)


def one(span: Span) -> Decoded:
    return decode_protobuf(request([span], []).SerializeToString(), ALLOW)


def good(**fields: Any) -> Span:
    return Span(**({"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_time_unix_nano": 1, "end_time_unix_nano": 2} | fields))


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


@pytest.mark.parametrize(
    ("reason", "field", "span"),
    [
        (RejectReason.ZERO_ID, "trace_id", good(trace_id=bytes(16))),
        (RejectReason.ZERO_ID, "trace_id", good(trace_id=b"short")),
        (RejectReason.ZERO_ID, "span_id", good(span_id=b"")),
        (RejectReason.ZERO_ID, "parent_span_id", good(parent_span_id=b"abc")),
        (RejectReason.OUTSIDE_RETENTION, "start_time_unix_nano", good(start_time_unix_nano=0)),
        (RejectReason.IN_THE_FUTURE, "end_time_unix_nano", good(end_time_unix_nano=2**63)),
        (RejectReason.TOO_LARGE, "a", good(attributes=[text("a", "x" * 4097)])),
        (RejectReason.WRONG_TYPE, "a", good(attributes=[text("a", "nul\0")])),
    ],
)
def test_malformed_span_is_rejected_by_field_and_the_rest_lands(reason: RejectReason, field: str, span: Span) -> None:
    decoded = decode_protobuf(request([good(), span, good()], []).SerializeToString(), ALLOW)
    assert (2, [(reason, field)]) == (len(decoded.spans), [(reject.reason, reject.field) for reject in decoded.rejects])


def test_only_allow_listed_keys_survive() -> None:
    (span,) = one(good(attributes=[text("a", "kept"), text("gen_ai.input.messages", "secret prompt")])).spans
    assert {"a": "kept"} == span.attributes


def test_error_text_is_classified_and_dropped() -> None:
    status = Status(code=Status.STATUS_CODE_ERROR, message="CUDA out of memory while it said: secret")
    event = Span.Event(name="exception", time_unix_nano=1, attributes=[text("exception.message", "timed out on: secret")])
    (span,) = one(good(status=status, events=[event])).spans
    assert span.error_sign is not None
    assert span.events[0].error_sign is not None
    assert (Outcome.OOM, Outcome.TIMEOUT) == (span.error_sign.outcome, span.events[0].error_sign.outcome)
    assert "secret" not in repr(span)


def test_text_in_the_place_of_an_error_class_is_treated_as_text() -> None:
    (span,) = one(good(attributes=[text("error.type", "rate limit reached for: secret")])).spans
    assert ({}, Outcome.RATE_LIMIT) == (span.attributes, span.error_sign and span.error_sign.outcome)
    (span,) = one(good(attributes=[text("error.type", "openai.RateLimitError")])).spans
    assert {"error.type": "openai.RateLimitError"} == span.attributes
    (span,) = one(good(attributes=[KeyValue(key="error.type", value=AnyValue(int_value=429))])).spans
    assert {"error.type": 429} == span.attributes


def test_resource_of_the_wrong_shape_takes_its_own_spans_along_and_no_others() -> None:
    body = request([good(), good()], [text("a", "nul\0")])
    body.MergeFrom(request([good()], []))
    decoded = decode_protobuf(body.SerializeToString(), ALLOW)
    assert (1, 2) == (len(decoded.spans), len(decoded.rejects))


def test_json_value_of_the_wrong_type_rejects_its_span_only() -> None:
    spans = [
        {"traceId": "1" * 32, "spanId": "2" * 16, "startTimeUnixNano": 1, "endTimeUnixNano": "2", "kind": "SPAN_KIND_SERVER"},
        {"traceId": 5, "spanId": "2" * 16},
        {"traceId": "1" * 32, "spanId": "3" * 16, "startTimeUnixNano": "one", "endTimeUnixNano": 2},
    ]
    decoded = decode_json(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode(), ALLOW)
    assert (1, 2) == (len(decoded.spans), len(decoded.rejects))
