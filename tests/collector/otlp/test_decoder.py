from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.errors import MalformedBody
from collector.otlp import decoder
from collector.otlp.allow import Decoded
from collector.otlp.decoder import Decoder
from collector.otlp.protobuf import decode_protobuf
from tests.collector.otlp.example import ALLOW

_TEXT = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.sampled_from(
        ["\0", "x" * 124, "x" * 125, "x" * 126, "x" * 160, "x" * 4096, "x" * 4097, "Connection refused", "Timeout"]
    ),
)
_INT = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, 127, 128, 129, 16_383, 16_384, 2**21 - 1, 2**21, -1]))
_SCALAR = st.one_of(
    _TEXT.map(lambda value: AnyValue(string_value=value)),
    _INT.map(lambda value: AnyValue(int_value=value)),
    st.floats(allow_nan=False).map(lambda value: AnyValue(double_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.just(AnyValue()),
    st.binary(max_size=3).map(lambda value: AnyValue(bytes_value=value)),
)


def _array(values: list[AnyValue]) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=values))


def _map(value: AnyValue) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=value)]))


def _length(size: int) -> bytes:
    written = bytearray()
    while size > 127:
        written.append(size & 127 | 128)
        size >>= 7
    return bytes([*written, size])


def _deep(depth: int) -> bytes:
    """A pair whose value is inside so many others: protobuf reads no more than a hundred messages inside each other."""
    value = b""
    for _ in range(depth // 2):
        value = _inside(b"\x2a", _inside(b"\x0a", value))
    if depth % 2:  # a map has one message more than an array
        value = _inside(b"\x32", _inside(b"\x0a", _inside(b"\x12", value)))
    return b"\x0a\x01a" + _inside(b"\x12", value)


def _inside(tag: bytes, value: bytes) -> bytes:
    return tag + _length(len(value)) + value


_VALUE = st.one_of(_SCALAR, st.lists(_SCALAR, max_size=3).map(_array), _SCALAR.map(_map))
_KEYS = ["a", "b", "error.type", "exception.message", "document", "not.kept", "", "k" * 130]
_PAIR = st.builds(KeyValue, key=st.sampled_from(_KEYS), value=_VALUE)
_DEEP = st.integers(94, 101).map(_deep)
_WRITTEN = st.one_of(
    _PAIR.map(lambda pair: pair.SerializeToString()),
    # The value ahead of the key, a key that is there twice, a value that is, what nobody knows, and what is no pair.
    _PAIR.map(lambda pair: KeyValue(value=pair.value).SerializeToString() + KeyValue(key=pair.key).SerializeToString()),
    _PAIR.map(lambda pair: pair.SerializeToString() + KeyValue(key="b").SerializeToString()),
    st.tuples(_PAIR, _VALUE).map(lambda both: both[0].SerializeToString() + KeyValue(value=both[1]).SerializeToString()),
    _PAIR.map(lambda pair: b"\x98\x06\x01" + pair.SerializeToString()),
    _PAIR.map(lambda pair: pair.SerializeToString() + b"\x98\x06\x01"),
    st.sampled_from(
        [b"", b"\x0a", b"\x0a\x01a", b"\x0a\x01a\x12\x00", b"\x0a\x01a\x12\x03\x18\x80\x00", b"\x0a\x01a\x12\x02\x10\x02"]
    ),
    st.sampled_from(
        [b"\x0a\x01a\x12\x03\x0a\x01\xff", b"\x0a\x01\xff", b"\x0a\x01a\x12\x04\x18\xff\xff\xff", b"\x0a\x01a\x12\x02\x0a\x05"]
    ),
    st.sampled_from([b"\x0a\x01a\x12\x02\x18\x80", b"\x0a\x01a\x12\x03\x18\x80\x80", b"\x0a\x01a\x12\x05\x0a\x03\xed\xa0\x80"]),
    _DEEP,
    st.binary(max_size=8),
)
_USUAL = st.builds(
    KeyValue,
    key=st.sampled_from(["a", "b", "not.kept"]),
    value=st.one_of(
        st.sampled_from([0, 1, 2, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21]).map(lambda value: AnyValue(int_value=value)),
        st.sampled_from([0.0, -0.0, 1.0, 0.5]).map(lambda value: AnyValue(double_value=value)),
        st.sampled_from(["", "1", "x" * 125, "x" * 126]).map(lambda value: AnyValue(string_value=value)),
        st.booleans().map(lambda value: AnyValue(bool_value=value)),
        st.sampled_from(["stop", "length"]).map(lambda value: _array([AnyValue(string_value=value)])),
    ),
).map(lambda pair: pair.SerializeToString())
"""What producers write."""
_TIME = st.sampled_from([0, 1, 5, 2**63 - 1, 2**63, 2**64 - 1])
_EVENTS = st.lists(st.builds(Span.Event, name=_TEXT, time_unix_nano=_TIME, attributes=st.lists(_PAIR)), max_size=1)
_ID = st.sampled_from([b"", bytes(8), b"p" * 8, b"p" * 7, b"p" * 16])


@st.composite
def _span(draw: st.DrawFn) -> bytes:
    """A span as bytes, with attributes that no library would write."""
    usual = draw(st.booleans())
    span = Span(
        trace_id=b"t" * 16 if usual else draw(st.sampled_from([b"", b"t" * 16, bytes(16)])),
        span_id=b"s" * 8 if usual else draw(st.sampled_from([b"", b"s" * 8, bytes(8)])),
        parent_span_id=draw(st.sampled_from([b"", b"p" * 8])) if usual else draw(_ID),
        trace_state=draw(st.sampled_from(["", "ot=th:8"])) if usual else draw(_TEXT),
        start_time_unix_nano=1 if usual else draw(_TIME),
        end_time_unix_nano=5 if usual else draw(_TIME),
        status=draw(st.none() | st.builds(Status, message=_TEXT, code=st.sampled_from([0, 1, 2]))),
        events=[] if usual else draw(_EVENTS),
    )
    written = span.SerializeToString()
    written += b"\x30" + _length(draw(st.sampled_from([0, 2, 3, 5, 6, 77])))  # kind, of a later version of OTLP too
    for pair in draw(st.lists(_USUAL | _USUAL | _USUAL | _DEEP, max_size=5)) + draw(
        st.lists(_WRITTEN, max_size=0 if usual else 2)
    ):
        written += b"\x4a" + _length(len(pair)) + pair
    return written


def _body(spans: list[bytes], resource: list[KeyValue]) -> bytes:
    empty = ExportTraceServiceRequest()
    part = empty.resource_spans.add()
    part.resource.attributes.extend(resource)
    part = part.SerializeToString()
    scope = b"\x0a\x03\x0a\x01n" + b"".join(b"\x12" + _length(len(span)) + span for span in spans)
    part += b"\x12" + _length(len(scope)) + scope
    return b"\x0a" + _length(len(part)) + part


def _read(decode: Decoder, body: bytes) -> Decoded | str:
    try:
        return decode(body)
    except MalformedBody as malformed:
        return str(malformed)


def _plainly(body: bytes) -> Decoded | str:
    try:
        return decode_protobuf(body, ALLOW)
    except MalformedBody as malformed:
        return str(malformed)


_BODY = st.builds(_body, st.lists(_span(), min_size=1, max_size=3), st.lists(_PAIR, max_size=2))


@settings(max_examples=300)
@given(st.lists(_BODY, min_size=1, max_size=3))
def test_a_body_is_read_as_the_plain_way_reads_it_the_first_time_and_again(bodies: list[bytes]) -> None:
    decode = Decoder(ALLOW)
    for body in (*bodies, *bodies):
        # By what they print, which tells 1 from 1.0 and True.
        assert repr(_plainly(body)) == repr(_read(decode, body))


@given(_BODY, st.data())
def test_a_body_that_was_damaged_on_the_way_is_read_as_the_plain_way_reads_it(body: bytes, data: st.DataObject) -> None:
    # Ahead of the spans it is the resource or the scope that breaks, which both read alike.
    at = data.draw(st.integers(len(body) // 2, len(body) - 1))
    damaged = body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :]
    assert repr(_plainly(damaged)) == repr(_read(Decoder(ALLOW), damaged))


def _numbered(count: int) -> Iterator[bytes]:
    for number in range(count):
        pairs = [KeyValue(key="a", value=AnyValue(int_value=number)), KeyValue(key="b", value=AnyValue(string_value="x"))]
        span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=1, end_time_unix_nano=2, attributes=pairs)
        yield _body([span.SerializeToString()], [])


def test_what_is_remembered_is_bounded_and_goes_on_being_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MOST_VALUES", 5)
    monkeypatch.setattr(decoder, "MOST_PAIRS", 4)
    decode = Decoder(ALLOW)
    found = [decode(body).spans[0].attributes for body in _numbered(50)]
    assert [{"a": number, "b": "x"} for number in range(50)] == found
    assert len(decode._pairs) <= 4
