"""OTLP in JSON: ids in hex, 64-bit integers as strings or numbers, enumerations by number or name, unknown fields ignored.

The body is decoded down to its spans, and each span by itself, so that a value of the wrong type rejects its span only.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from collector.error_sign import ErrorSign
from collector.errors import MalformedBody
from collector.otlp.allow import AllowList, Decoded
from collector.otlp.check import (
    KINDS,
    MOST_EVENTS,
    STATUS_CODES,
    MalformedSpan,
    add_sign,
    check_array,
    check_count,
    check_ids,
    check_text,
    check_time,
    check_times,
    short_name,
)
from collector.otlp.document import read_document
from collector.otlp.json_text import with_camel_names, without_half_pairs
from collector.otlp.otlp_struct import (
    AnyValue,
    Enumeration,
    Event,
    ExportTraceServiceRequest,
    Integer,
    KeyValue,
    Resource,
    Scope,
    Status,
)
from collector.otlp.otlp_struct import Span as SpanStruct
from collector.request import RejectReason
from collector.span import Attributes, Span, SpanEvent, SpanKind, StatusCode, Value

_INTEGER = re.compile(r"-?\d{1,20}")
_KIND_NAMES = {f"SPAN_KIND_{kind.name}": kind.value for kind in SpanKind}
_STATUS_NAMES = {f"STATUS_CODE_{code.name}": code.value for code in StatusCode}
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
WRONG_TYPE = (msgspec.ValidationError, UnicodeDecodeError)
"""What a part of a body raises that is JSON and not what it should be."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-fA-F]*")
Body = TypeVar("Body", bound=msgspec.Struct)

_body = msgspec.json.Decoder(ExportTraceServiceRequest)
_resource = msgspec.json.Decoder(Resource | None)
_span = msgspec.json.Decoder(SpanStruct)
_any_value = msgspec.json.Decoder(AnyValue | None)


def decode_json(body: bytes, allow: AllowList) -> Decoded:
    """Decode one ExportTraceServiceRequest in OTLP's JSON.

    :raises MalformedBody: for a body that is none
    :raises BodyTooLarge: for one with too many spans
    """
    try:
        request = read_body(_body, body, "resource_spans")
        parts = [part for resource_spans in request.resource_spans or () for part in resource_spans.scope_spans or ()]
        check_count(sum(len(part.spans or ()) for part in parts))
        decoded = Decoded([], [])
        for resource_spans in request.resource_spans or ():
            scopes = [
                (scope_spans.scope or Scope(), scope_spans.spans or ()) for scope_spans in resource_spans.scope_spans or ()
            ]
            try:
                resource = decode_resource(resource_spans.resource, allow.resource)
            except MalformedSpan as malformed:
                decoded.rejects.extend([malformed.reject] * sum(len(spans) for _, spans in scopes))
                continue
            for scope, spans in scopes:
                _decode_scope(scope, spans, resource, allow, decoded)
    except NOT_JSON as error:
        raise MalformedBody(f"the body is not an ExportTraceServiceRequest in JSON: {reason_of(error)}") from None
    return decoded


def read_body(decoder: msgspec.json.Decoder[Body], body: bytes, member: str) -> Body:
    """A body with all that is wrong with it and can be mended; ``member`` is what it holds.

    Raises one of ``NOT_JSON`` where it cannot be read.
    """
    try:
        request = decoder.decode(body)
    except msgspec.DecodeError:
        if b"\\u" not in body:
            raise
        body = without_half_pairs(body)
        request = decoder.decode(body)
    if getattr(request, member) is None and f'"{member}"'.encode() in body:
        return decoder.decode(with_camel_names(body))
    return request


def decode_resource(raw: msgspec.Raw, keep: frozenset[str]) -> Attributes:
    """The attributes of a resource that are kept.

    :raises MalformedSpan: for one that is malformed
    """
    try:
        resource = _resource.decode(raw)
    except WRONG_TYPE as error:
        raise wrong_type("resource", error) from None
    attributes, _ = attributes_of(resource.attributes if resource else None, keep, None)
    return attributes


def _decode_scope(scope: Scope, spans: Iterable[msgspec.Raw], resource: Attributes, allow: AllowList, decoded: Decoded) -> None:
    name, version = short_name(scope.name or ""), short_name(scope.version or "")
    for raw in spans:
        try:
            decoded.spans.append(_read_span(raw, resource, name, version, allow))
        except MalformedSpan as malformed:
            decoded.rejects.append(malformed.reject)


def _read_span(raw: msgspec.Raw, resource: Attributes, scope: str, scope_version: str, allow: AllowList) -> Span:
    try:
        span = _span.decode(raw)
    except WRONG_TYPE as error:
        raise wrong_type("span", error) from None
    trace_id, span_id = _id("trace_id", span.trace_id, 16), _id("span_id", span.span_id, 8)
    parent_span_id = check_ids(trace_id, span_id, _id("parent_span_id", span.parent_span_id or "", 8))
    start_ns = integer_of("start_time_unix_nano", span.start_time_unix_nano)
    end_ns = integer_of("end_time_unix_nano", span.end_time_unix_nano)
    check_times(start_ns, end_ns)
    status = span.status or Status()
    attributes, sign = attributes_of(span.attributes, allow.span, allow, add_sign(None, status.message or ""))
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent_span_id,
        trace_state=check_text("trace_state", span.trace_state or ""),
        kind=KINDS[_enumeration(span.kind, _KIND_NAMES, len(KINDS))],
        start_ns=start_ns,
        end_ns=end_ns,
        status=STATUS_CODES[_enumeration(status.code, _STATUS_NAMES, len(STATUS_CODES))],
        attributes=attributes,
        events=tuple(_event(event, allow) for event in (span.events or ())[:MOST_EVENTS]),
        resource=resource,
        scope=scope,
        scope_version=scope_version,
        error_sign=sign,
    )


def _event(event: Event, allow: AllowList) -> SpanEvent:
    time_ns = check_time("events.time_unix_nano", integer_of("events.time_unix_nano", event.time_unix_nano))
    attributes, sign = attributes_of(event.attributes, allow.event, allow)
    return SpanEvent(short_name(event.name), time_ns, attributes, sign)


def attributes_of(
    pairs: Iterable[KeyValue] | None, keep: frozenset[str], errors: AllowList | None, sign: ErrorSign | None = None
) -> tuple[Attributes, ErrorSign | None]:
    """The attributes that are kept, and what those said that are classified and dropped."""
    kept: dict[str, Value] = {}
    for pair in pairs or ():
        if pair.key not in keep and (errors is None or not errors.asks(pair.key)):
            continue
        try:
            value = _any_value.decode(pair.value)
        except WRONG_TYPE as error:
            raise wrong_type(pair.key, error) from None
        if value is None:
            continue
        if errors is not None and errors.is_text(pair.key, value.string_value or ""):
            sign = add_sign(sign, value.string_value or "")
        elif pair.key in keep and (found := _value(pair.key, value)) is not None:
            kept[pair.key] = found
        elif errors is not None and pair.key in errors.documents:
            kept.update(read_document(pair.key, value.string_value or "", errors.documents[pair.key]))
    return kept, sign


def _value(key: str, value: AnyValue) -> Value | None:
    """``None`` for what is never kept: bytes, maps, arrays that hold anything but primitives, and no value at all."""
    if value.array_value is not None:
        elements = [_primitive(key, element) for element in value.array_value.values or ()]
        return None if None in elements else check_array(key, tuple(element for element in elements if element is not None))
    return _primitive(key, value)


def _primitive(key: str, value: AnyValue) -> bool | int | float | str | None:
    if value.string_value is not None:
        return check_text(key, value.string_value)
    if value.int_value is not None:
        return _signed(key, value.int_value)
    if value.double_value is not None:
        return _double(key, value.double_value)
    return value.bool_value


def _double(key: str, value: float | str) -> float:
    """NaN and the infinities are words in JSON."""
    try:
        if not isinstance(value, str) or "_" not in value:  # float() would take 1_000
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise MalformedSpan(RejectReason.WRONG_TYPE, key, "text", "a number")


def integer_of(field: str, value: Integer) -> int:
    """A number that is never negative.

    :raises MalformedSpan: for anything else
    """
    number = _signed(field, value)
    if number < 0:
        raise MalformedSpan(RejectReason.WRONG_TYPE, field, str(number)[:24], "0 or more")
    return number


def _signed(field: str, value: Integer) -> int:
    if isinstance(value, str):
        # int() would take underscores and spaces too, and its cost grows with the square of the length.
        if not _INTEGER.fullmatch(value):
            raise MalformedSpan(RejectReason.WRONG_TYPE, field, "text", "a 64-bit integer")
        value = int(value)
    elif isinstance(value, float):
        # JSON knows one kind of number, and some producers write 12 as 12.0.
        if not value.is_integer():
            raise MalformedSpan(RejectReason.WRONG_TYPE, field, "a fraction", "a 64-bit integer")
        value = int(value)
    if not -(2**63) <= value < 2**64:
        raise MalformedSpan(RejectReason.WRONG_TYPE, field, str(value)[:24], "a 64-bit integer")
    return value


def _id(field: str, text: str, size: int) -> bytes:
    """An id of ``size`` bytes: in hex, as OTLP asks for, in base64, as protobuf writes bytes in JSON, or the end of a UUID.

    Its size is checked later, with that of an id from protobuf.
    """
    if _HEX.fullmatch(text) and len(text) % 2 == 0:
        return bytes.fromhex(text)
    if _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))[-size:]
    # Only with its padding: without, it cannot be told from a word of the same length.
    if text.endswith("="):
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            pass
    raise MalformedSpan(RejectReason.ZERO_ID, field, f"{len(text)} characters", f"{size} bytes in hex")


def _enumeration(value: Enumeration, names: dict[str, int], count: int) -> int:
    """A number that is known, else 0: a later version of OTLP may know more."""
    if isinstance(value, str):
        return names.get(value, 0)
    return int(value) if value is not None and value in range(count) else 0


def wrong_type(field: str, error: msgspec.ValidationError | UnicodeDecodeError) -> MalformedSpan:
    """msgspec's message names types and a path, never a value."""
    if isinstance(error, UnicodeDecodeError):
        return MalformedSpan(RejectReason.WRONG_TYPE, field, "bytes", "text in UTF-8")
    return MalformedSpan(RejectReason.WRONG_TYPE, field, "another type", str(error)[:160])


def reason_of(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:160]
