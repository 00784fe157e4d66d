"""What is wrong with input has a limit or a rule, and costs the span that it is in and no other."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import REGISTRY

from collector.death import Mark
from collector.otlp.allow import Decoded
from collector.otlp.http import application
from collector.otlp.log import LogKeys, Source
from collector.otlp.log_json import decode_logs_json
from collector.otlp.log_protobuf import decode_logs_protobuf
from collector.otlp.otlp_json import decode_json
from collector.otlp.protobuf import decode_protobuf
from collector.otlp.signal import JSON, PROTOBUF, traces
from collector.request import RejectReason
from collector.span import SpanKind, StatusCode
from tests.collector.example import now
from tests.collector.log_body import log_body, log_json
from tests.collector.otlp.example import ALLOW, OPEN, Next
from tests.collector.otlp_body import attribute, body, chat_span

TRACE, SPAN = "5b8aa5a2d2c872e8321cf37308d69df2", "051581bf3cb55c13"
LIMIT = 1_000_000
KEYS = LogKeys(("llm_slo.replica",), ("llm_slo.model",))


def json_body(*spans: str) -> bytes:
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % ",".join(spans).encode()


def json_span(**fields: Any) -> str:
    return json.dumps({"traceId": TRACE, "spanId": SPAN, "startTimeUnixNano": "1", "endTimeUnixNano": "2"} | fields)


def decoded(**fields: Any) -> Decoded:
    """A span with these fields, between two that are as they should be."""
    return decode_json(json_body(json_span(), json_span(**fields), json_span()), ALLOW)


def valued(value: object) -> dict[str, Any]:
    return {"attributes": [{"key": "a", "value": value}]}


@pytest.mark.parametrize(
    "value",
    [
        {"stringValue": 5},
        {"intValue": True},
        {"intValue": 12.5},
        {"intValue": "twelve"},
        {"intValue": "1_000"},
        {"intValue": 2**70},
        {"doubleValue": "1_000.5"},
        {"doubleValue": 10**400},
        {"boolValue": "true"},
        {"arrayValue": [1]},
        {"arrayValue": {"values": [{"stringValue": 5}]}},
        [],
        5,
    ],
    ids=str,
)
def test_attribute_of_another_type_than_it_says_rejects_its_span(value: object) -> None:
    found = decoded(**valued(value))
    assert (2, [RejectReason.WRONG_TYPE]) == (len(found.spans), [reject.reason for reject in found.rejects])


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (12, {"intValue": "12"}),
        (12, {"intValue": 12}),
        (12, {"intValue": 12.0}),
        (2**53 + 1, {"intValue": str(2**53 + 1)}),
        (-(2**63), {"intValue": -(2**63)}),
        (0.5, {"doubleValue": "0.5"}),
        (float("inf"), {"doubleValue": "Infinity"}),
        (1.0, {"doubleValue": 1}),
        (False, {"boolValue": False}),
        (("x", 1), {"arrayValue": {"values": [{"stringValue": "x"}, {"intValue": "1"}]}}),
    ],
)
def test_value_is_read_however_json_writes_it(expected: object, value: object) -> None:
    assert [{}, {"a": expected}, {}] == [span.attributes for span in decoded(**valued(value)).spans]


@pytest.mark.parametrize(
    "value",
    [{"kvlistValue": {"values": []}}, {"bytesValue": "AAE="}, {}, None, {"arrayValue": {"values": [{"kvlistValue": {}}]}}],
)
def test_value_of_a_kind_that_is_never_kept_is_left_out(value: object) -> None:
    assert [{}, {}, {}] == [span.attributes for span in decoded(**valued(value)).spans]


@pytest.mark.parametrize("values", [["first", "last"], ["last"]])
def test_of_a_key_that_is_there_twice_the_last_value_holds(values: list[str]) -> None:
    pairs = [{"key": "a", "value": {"stringValue": value}} for value in values]
    assert {"a": "last"} == decoded(attributes=pairs).spans[1].attributes
    span = chat_span(1, now())
    span.attributes.extend(attribute("a", value) for value in values)
    assert "last" == decode_protobuf(body([span]), ALLOW).spans[0].attributes["a"]


def test_of_a_member_that_is_there_twice_the_last_one_holds() -> None:
    twice = json_span()[:-1] + f', "spanId": "{"1" * 16}"}}'
    (span,) = decode_json(json_body(twice), ALLOW).spans
    assert "1" * 16 == span.span_id.hex()


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [
        (TRACE, SPAN),
        (TRACE.upper(), SPAN.upper()),
        (base64.b64encode(bytes.fromhex(TRACE)).decode(), base64.b64encode(bytes.fromhex(SPAN)).decode()),
        ("5b8aa5a2-d2c8-72e8-321c-f37308d69df2", "ffffffff-ffff-ffff-0515-81bf3cb55c13"),
    ],
)
def test_id_is_read_in_hex_in_base64_and_as_a_uuid(trace_id: str, span_id: str) -> None:
    (_, span, _) = decoded(traceId=trace_id, spanId=span_id, parentSpanId=span_id).spans
    assert (TRACE, SPAN, SPAN) == (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("trace_id", {"traceId": "0" * 32}),
        ("trace_id", {"traceId": ""}),
        ("trace_id", {"traceId": SPAN}),
        ("trace_id", {"traceId": "AAAAAAAAAAAAAAAAAAAAAA=="}),
        ("span_id", {"spanId": "0" * 16}),
        ("span_id", {"spanId": TRACE}),
        ("span_id", {"spanId": f"{SPAN} "}),
        ("span_id", {"spanId": "call_0f3a9c"}),
        ("parent_span_id", {"parentSpanId": "nobody"}),
    ],
)
def test_id_that_is_none_rejects_its_span(name: str, fields: dict[str, str]) -> None:
    found = decoded(**fields)
    rejects = [(reject.reason, reject.field) for reject in found.rejects]
    assert (2, [(RejectReason.ZERO_ID, name)]) == (len(found.spans), rejects)


@pytest.mark.parametrize("zeros", ["0" * 16, "", None])
def test_parent_of_zeros_is_none(zeros: str | None) -> None:
    assert b"" == decoded(parentSpanId=zeros).spans[1].parent_span_id


@pytest.mark.parametrize(
    ("kind", "code"), [("SPAN_KIND_SERVER", "STATUS_CODE_ERROR"), (2, 2), (2.0, 2.0)], ids=["words", "numbers", "floats"]
)
def test_enumeration_is_read_by_word_and_by_number(kind: object, code: object) -> None:
    (_, span, _) = decoded(kind=kind, status={"code": code}).spans
    assert (SpanKind.SERVER, StatusCode.ERROR) == (span.kind, span.status)


@pytest.mark.parametrize("kind", ["SPAN_KIND_OF_TOMORROW", 99, -1, 1.5, None])
def test_enumeration_that_is_not_known_says_nothing(kind: object) -> None:
    assert SpanKind.UNSPECIFIED is decoded(kind=kind).spans[1].kind


def test_ten_megabytes_that_nobody_reads_are_dropped_and_the_span_lands() -> None:
    span = chat_span(1, now())
    span.attributes.extend([attribute("gen_ai.input.messages", "x" * 10_000_000), *[attribute("more", 1)] * 100_000])
    (kept,) = decode_protobuf(body([span]), ALLOW).spans
    assert len(repr(kept)) < 2000
    fat = json_span(attributes=[{"key": "gen_ai.input.messages", "value": {"stringValue": "x" * 10_000_000}}])
    assert [{}] == [span.attributes for span in decode_json(json_body(fat), ALLOW).spans]


def test_ten_megabytes_in_a_key_that_is_read_reject_their_span() -> None:
    span = chat_span(1, now())
    span.attributes.append(attribute("a", "x" * 10_000_000))
    found = decode_protobuf(body([chat_span(2, now()), span]), ALLOW)
    assert (1, [RejectReason.TOO_LARGE]) == (len(found.spans), [reject.reason for reject in found.rejects])
    found = decoded(**valued({"stringValue": "x" * 10_000_000}))
    assert (2, [RejectReason.TOO_LARGE]) == (len(found.spans), [reject.reason for reject in found.rejects])
    assert len(repr(found.rejects)) < 300


def test_ten_megabytes_of_error_text_are_classified_by_their_beginning() -> None:
    span = chat_span(1, now())
    span.status.message = "CUDA out of memory. " + "secret " * 1_500_000
    (kept,) = decode_protobuf(body([span]), ALLOW).spans
    assert kept.error_sign is not None
    assert len(repr(kept)) < 2000


def no_utf8(span: Span) -> bytes:
    """A body of three spans, of which the one in the middle holds a byte that no UTF-8 has."""
    return body([chat_span(1, now()), span, chat_span(3, now())]).replace(b"BAD", b"B\xffD")


@pytest.mark.parametrize(
    "span",
    [
        Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="BAD"),
        Span(trace_id=b"t" * 16, span_id=b"s" * 8, attributes=[attribute("a", "BAD")]),
        Span(trace_id=b"t" * 16, span_id=b"s" * 8, attributes=[attribute("BAD", "dropped")]),
        Span(trace_id=b"t" * 16, span_id=b"s" * 8, events=[Span.Event(name="BAD")]),
    ],
    ids=["name", "value", "key", "event"],
)
def test_protobuf_text_that_is_no_utf8_rejects_its_span_only(span: Span) -> None:
    found = decode_protobuf(no_utf8(span), ALLOW)
    rejects = [(reject.reason, reject.field) for reject in found.rejects]
    assert (2, [(RejectReason.WRONG_TYPE, "span")]) == (len(found.spans), rejects)
    assert {"test.gateway"} == {span.scope for span in found.spans}


def test_protobuf_resource_that_is_no_utf8_takes_its_own_spans_along() -> None:
    bad = body([chat_span(1, now()), chat_span(2, now())], {"service.name": "BAD"}).replace(b"BAD", b"B\xffD")
    found = decode_protobuf(bad + body([chat_span(3, now())], {"service.name": "good"}), ALLOW)
    assert ([{"service.name": "good"}], 2) == ([span.resource for span in found.spans], len(found.rejects))


def field(number: int, data: bytes) -> bytes:
    """A field of bytes, as protobuf writes it; ``data`` is shorter than 16 kB."""
    length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) % 128 + 128, len(data) // 128])
    return bytes([number * 8 + 2]) + length + data


def test_value_nested_deeper_than_protobuf_reads_rejects_its_span_only() -> None:
    deep = AnyValue(string_value="end").SerializeToString()
    for _ in range(100):
        deep = field(5, field(1, deep))  # an array of one value
    span = chat_span(2, now()).SerializeToString() + field(9, field(1, b"not.kept") + field(2, deep))
    data = field(1, field(2, field(2, chat_span(1, now()).SerializeToString()) + field(2, span)))
    found = decode_protobuf(data, ALLOW)
    assert (1, [RejectReason.WRONG_TYPE]) == (len(found.spans), [reject.reason for reject in found.rejects])


def test_json_text_that_is_no_utf8_rejects_its_span_only() -> None:
    data = json_body(json_span(), json_span(**valued({"stringValue": "BAD"})), json_span()).replace(b"BAD", b"\xff")
    found = decode_json(data, ALLOW)
    assert (2, [(RejectReason.WRONG_TYPE, "a")]) == (len(found.spans), [(one.reason, one.field) for one in found.rejects])


def test_half_of_an_emoji_at_the_end_of_a_text_that_was_cut_costs_nothing() -> None:
    value = r'{"stringValue": "an emoji \ud83d\ude00, half of one \ud83d, and a word \\ud83d"}'
    data = json_body(json_span(**valued("VALUE"))).replace(b'"VALUE"', value.encode())
    (span,) = decode_json(data, ALLOW).spans
    assert {"a": "an emoji \U0001f600, half of one �, and a word \\ud83d"} == span.attributes


def test_protobufs_own_names_of_fields_are_read_and_text_that_looks_like_them_is_left_alone() -> None:
    value = {"string_value": 'a "trace_id": here'}
    span = {"trace_id": TRACE, "span_id": SPAN, "start_time_unix_nano": "1", "end_time_unix_nano": 2}
    span |= {"attributes": [{"key": "a", "value": value}]}
    data = json.dumps({"resource_spans": [{"scope_spans": [{"spans": [span]}]}]}).encode()
    assert [{"a": 'a "trace_id": here'}] == [one.attributes for one in decode_json(data, ALLOW).spans]


def test_log_record_that_is_no_utf8_is_rejected_and_the_others_count() -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory."
    for found in (
        decode_logs_protobuf(log_body(["a line", "BAD", line], now()).replace(b"BAD", b"B\xffD"), KEYS, now()),
        decode_logs_json(log_json(["a line", "BAD", line], now()).replace(b"BAD", b"B\xffD"), KEYS, now()),
    ):
        assert (1, 1, [RejectReason.WRONG_TYPE]) == (found.facts, found.ignored, [one.reason for one in found.rejects])
        (marks,) = found.marks.values()
        assert isinstance(marks[0], Mark)
        assert [Source("vllm-0", "tiny")] == list(found.marks)


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    server = TestServer(application([traces(Next(), ALLOW)], LIMIT, OPEN))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "headers", "data"),
    [
        (413, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(bytes(100_000_000))),
        (413, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(b"\n\x02\x12\x00" * 10_000_000)),
        (413, {"Content-Type": JSON}, json_body(*["{}"] * 100_000)),
        (413, {"Content-Type": PROTOBUF}, body([Span()] * 100_000)),
        (400, {"Content-Type": JSON}, b"\xff\xfe{}"),
        (400, {"Content-Type": PROTOBUF}, b"\x0a\xff\xff"),
    ],
    ids=["bomb", "bomb of spans", "spans in JSON", "spans in protobuf", "no UTF-8", "no protobuf"],
)
async def test_body_that_is_refused_is_counted_by_its_status(
    client: TestClient[web.Request, web.Application], status: int, headers: dict[str, str], data: bytes
) -> None:
    def counted() -> float:
        labels = {"transport": "http", "status": str(status)}
        return REGISTRY.get_sample_value("llm_slo_bodies_refused_total", labels) or 0

    before = counted()
    response = await client.post("/v1/traces", data=data, headers=headers)
    assert (status, 1) == (response.status, counted() - before)
