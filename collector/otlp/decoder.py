"""OTLP in protobuf, fast: spans of one producer are alike, so most attributes of a span were read in an earlier one.

A pair of key and value whose bytes were seen before is one look-up. What is new is read from its bytes where it is written the
way every producer writes it. Whatever else is in a span sends that span through ``collector.otlp.protobuf``, which says what a
body means: both give the same spans and the same rejects.
"""

from __future__ import annotations

from struct import unpack_from
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from collector.error_sign import ErrorSign
from collector.otlp.allow import AllowList, Decoded
from collector.otlp.check import (
    KINDS,
    LARGEST_INT64,
    LONGEST_TEXT,
    MOST_EVENTS,
    STATUS_CODES,
    MalformedSpan,
    add_sign,
    check_count,
    short_name,
)
from collector.otlp.outline import read
from collector.otlp.protobuf import attributes_of, decode_event, decode_protobuf, decode_span, value_of
from collector.otlp.span_body import SpanBody
from collector.span import Attributes, Span, StatusCode, Value

LONGEST_PAIR = 160
"""Bytes of a pair that is remembered. It also bounds how deep a value of one can be nested: protobuf reads 100 messages."""
MOST_PAIRS = 65_536
"""Pairs that are remembered [some 20 MB]; then it begins anew, since what producers send changes."""
MOST_VALUES = 1024
"""Values of one key that are remembered: a key that has more is an id, a count or a time, and never comes again."""

Pair = tuple[str, Value]
_DROPPED: Pair = ("", 0)
"""A pair that is not kept. No key that is kept is empty."""
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_KEY, _VALUE, _TEXT, _BOOL, _INT, _DOUBLE = 0x0A, 0x12, 0x0A, 0x10, 0x18, 0x21
"""Tags of KeyValue and AnyValue."""


_UNSET = (StatusCode.UNSET, None)


class _Unusual(Exception):
    """Something that is read the plain way."""


class _Key:
    """A key that is kept as it is, and how many of its values are remembered."""

    __slots__ = ("name", "values")

    def __init__(self, name: str) -> None:
        self.name = name
        self.values = 0


class Decoder:
    """Decodes bodies by one allow-list. May be called by several threads."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._pairs: dict[bytes, Pair] = {}
        self._keys = {key.encode(): _Key(key) for key in allow.span if key and not allow.asks(key)}

    def __call__(self, body: bytes) -> Decoded:
        """Decode one ExportTraceServiceRequest.

        :raises MalformedBody: for a body that is none
        :raises BodyTooLarge: for one with too many spans
        """
        message = SpanBody()
        try:
            message.ParseFromString(body)
        except DecodeError:
            return decode_protobuf(body, self._allow)
        check_count(sum(len(part.spans) for resource_spans in message.resource_spans for part in resource_spans.scope_spans))
        decoded = Decoded([], [])
        for resource_spans in message.resource_spans:
            try:
                resource, _ = attributes_of(resource_spans.resource.attributes, self._allow.resource, None)
            except MalformedSpan as malformed:
                size = sum(len(scope_spans.spans) for scope_spans in resource_spans.scope_spans)
                decoded.rejects.extend([malformed.reject] * size)
                continue
            for scope_spans in resource_spans.scope_spans:
                scope, version = short_name(scope_spans.scope.name), short_name(scope_spans.scope.version)
                for span in scope_spans.spans:
                    try:
                        decoded.spans.append(self._span(span, resource, scope, version))
                    except MalformedSpan as malformed:
                        decoded.rejects.append(malformed.reject)
        return decoded

    def _span(self, span: Any, resource: Attributes, scope: str, version: str) -> Span:
        try:
            return self._usual(span, resource, scope, version)
        except (_Unusual, IndexError, UnicodeDecodeError):
            plain = read(trace_pb2.Span(), span.SerializeToString(), "span")
            return decode_span(plain, resource, scope, version, self._allow)

    def _usual(self, span: Any, resource: Attributes, scope: str, version: str) -> Span:
        """A span of which nothing is rejected but, at the end, an event of it."""
        trace_id, span_id, parent_span_id = span.trace_id, span.span_id, span.parent_span_id
        start_ns, end_ns, kind, trace_state = span.start_time_unix_nano, span.end_time_unix_nano, span.kind, span.trace_state
        if (
            (len(trace_id) != 16 or trace_id == _NO_TRACE or len(span_id) != 8 or span_id == _NO_SPAN)
            or (parent_span_id and (len(parent_span_id) != 8 or parent_span_id == _NO_SPAN))
            or not (0 < start_ns <= LARGEST_INT64 and 0 < end_ns <= LARGEST_INT64)
            or (trace_state and (len(trace_state) > LONGEST_TEXT or "\0" in trace_state))
            or not 0 <= kind < len(KINDS)
        ):
            raise _Unusual
        code, sign = _status(span.status) if span.HasField("status") else _UNSET
        known, learn = self._pairs.get, self._learn
        # A slice takes all of them at once, which is a third faster than one after the other.
        attributes = dict([known(raw) or learn(raw) for raw in span.attributes[:]])
        attributes.pop("", None)
        events = span.events
        return Span._make(
            (
                *(trace_id, span_id, parent_span_id, trace_state, KINDS[kind], start_ns, end_ns, code, attributes),
                tuple(decode_event(event, self._allow) for event in events[:MOST_EVENTS]) if events else (),
                *(resource, scope, version, sign),
            )
        )

    def _learn(self, raw: bytes) -> Pair:
        """Read a pair that is new, and remember it if it may come again."""
        at = raw[1] + 2
        key = self._keys.get(raw[2:at])
        size = len(raw) - at
        # Lengths of one byte only: what is longer is read the plain way.
        if key is None or raw[0] != _KEY or raw[at] != _VALUE or raw[at + 1] != size - 2 or size > 129:
            return self._learn_plainly(raw)
        tag = raw[at + 2]
        value: Value
        if tag == _TEXT and raw[at + 3] == size - 4:
            value = raw[at + 4 :].decode()
            if "\0" in value:
                raise _Unusual
        elif tag == _DOUBLE and size == 11:
            (value,) = unpack_from("<d", raw, at + 3)
        elif tag == _INT and size == 4:
            value = raw[at + 3]
            if value > 127:
                raise _Unusual
        elif tag == _INT and size == 5 and raw[at + 3] > 127 and raw[at + 4] < 128:
            value = raw[at + 3] & 127 | raw[at + 4] << 7
        elif tag == _INT and size == 6 and raw[at + 3] > 127 and raw[at + 4] > 127 and raw[at + 5] < 128:
            value = raw[at + 3] & 127 | (raw[at + 4] & 127) << 7 | raw[at + 5] << 14
        else:
            return self._learn_plainly(raw)
        pair = (key.name, value)
        if key.values < MOST_VALUES:
            key.values += 1
            self._remember(raw, pair)
        return pair

    def _learn_plainly(self, raw: bytes) -> Pair:
        pair = KeyValue()
        try:
            pair.ParseFromString(raw)
        except DecodeError:
            raise _Unusual from None
        name = pair.key
        if name in self._allow.documents or self._allow.is_text(name, pair.value.string_value):
            raise _Unusual
        is_short = len(raw) <= LONGEST_PAIR
        if not is_short and pair.value.WhichOneof("value") in ("array_value", "kvlist_value"):
            raise _Unusual
        found = _DROPPED
        if name in self._allow.span:
            try:
                value = value_of(name, pair.value)
            except MalformedSpan:
                raise _Unusual from None
            found = _DROPPED if value is None else (name, value)
        if is_short:
            self._remember(raw, found)
        return found

    def _remember(self, raw: bytes, pair: Pair) -> None:
        if len(self._pairs) >= MOST_PAIRS:
            self._pairs.clear()
            for key in self._keys.values():
                key.values = 0
        self._pairs[raw] = pair


def _status(status: trace_pb2.Status) -> tuple[StatusCode, ErrorSign | None]:
    if not 0 <= status.code < len(STATUS_CODES):
        raise _Unusual
    return STATUS_CODES[status.code], add_sign(None, status.message) if status.message else None
