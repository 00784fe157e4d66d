"""OTLP in protobuf: the body of both transports.

One pass over upb's messages, dispatched by key: an attribute that nobody asked for costs one set look-up, and its value is
never touched.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

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
from collector.otlp.outline import cut, read
from collector.request import Reject
from collector.span import Attributes, Span, SpanEvent, SpanKind, StatusCode, Value


def decode_protobuf(body: bytes, allow: AllowList) -> Decoded:
    """Decode one ExportTraceServiceRequest.

    :raises MalformedBody: for a body that is none
    :raises BodyTooLarge: for one with too many spans
    """
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        return _decode_in_parts(body, allow)
    check_count(sum(len(part.spans) for resource_spans in request.resource_spans for part in resource_spans.scope_spans))
    decoded = Decoded([], [])
    for resource_spans in request.resource_spans:
        try:
            resource, _ = attributes_of(resource_spans.resource.attributes, allow.resource, None)
        except MalformedSpan as malformed:
            decoded.rejects.extend(_reject_all(resource_spans, malformed.reject))
            continue
        for scope_spans in resource_spans.scope_spans:
            _decode_scope(scope_spans.scope, scope_spans.spans, resource, allow, decoded)
    return decoded


def _decode_in_parts(body: bytes, allow: AllowList) -> Decoded:
    """Span by span: what protobuf does not read costs its span, and not the whole body."""
    try:
        parts = cut(body)
    except DecodeError:
        raise MalformedBody("the body is not an ExportTraceServiceRequest in protobuf") from None
    check_count(sum(part.size for part in parts))
    decoded = Decoded([], [])
    for part in parts:
        try:
            resource, _ = attributes_of(read(Resource(), part.resource, "resource").attributes, allow.resource, None)
        except MalformedSpan as malformed:
            decoded.rejects.extend([malformed.reject] * part.size)
            continue
        for scope, items in part.scopes:
            for item in items:
                try:
                    spans = [read(trace_pb2.Span(), item, "span")]
                    _decode_scope(read(InstrumentationScope(), scope, "scope"), spans, resource, allow, decoded)
                except MalformedSpan as malformed:
                    decoded.rejects.append(malformed.reject)
    return decoded


def _reject_all(resource_spans: trace_pb2.ResourceSpans, reject: Reject) -> list[Reject]:
    """A resource is part of each of its spans, so one that is malformed takes all of them along."""
    return [reject] * sum(len(scope_spans.spans) for scope_spans in resource_spans.scope_spans)


def _decode_scope(
    scope: InstrumentationScope,
    spans: Iterable[trace_pb2.Span],
    resource: Attributes,
    allow: AllowList,
    decoded: Decoded,
) -> None:
    name, version = short_name(scope.name), short_name(scope.version)
    for span in spans:
        try:
            decoded.spans.append(decode_span(span, resource, name, version, allow))
        except MalformedSpan as malformed:
            decoded.rejects.append(malformed.reject)


def decode_span(span: trace_pb2.Span, resource: Attributes, scope: str, scope_version: str, allow: AllowList) -> Span:
    """One span.

    :raises MalformedSpan: for one that is rejected
    """
    trace_id, span_id = span.trace_id, span.span_id
    parent_span_id = check_ids(trace_id, span_id, span.parent_span_id)
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    check_times(start_ns, end_ns)
    status, kind = span.status, span.kind
    attributes, sign = attributes_of(span.attributes, allow.span, allow, add_sign(None, status.message))
    events = span.events
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent_span_id,
        trace_state=check_text("trace_state", span.trace_state),
        # Enumerations of proto3 are open: a number of a later version of OTLP says nothing to us.
        kind=KINDS[kind] if 0 <= kind < len(KINDS) else SpanKind.UNSPECIFIED,
        start_ns=start_ns,
        end_ns=end_ns,
        status=STATUS_CODES[status.code] if 0 <= status.code < len(STATUS_CODES) else StatusCode.UNSET,
        attributes=attributes,
        events=tuple(decode_event(event, allow) for event in events[:MOST_EVENTS]) if events else (),
        resource=resource,
        scope=scope,
        scope_version=scope_version,
        error_sign=sign,
    )


def decode_event(event: trace_pb2.Span.Event, allow: AllowList) -> SpanEvent:
    """One event of a span.

    :raises MalformedSpan: for one that takes its span along
    """
    time_ns = check_time("events.time_unix_nano", event.time_unix_nano)
    attributes, sign = attributes_of(event.attributes, allow.event, allow)
    return SpanEvent(short_name(event.name), time_ns, attributes, sign)


def attributes_of(
    pairs: Iterable[KeyValue], keep: frozenset[str], errors: AllowList | None, sign: ErrorSign | None = None
) -> tuple[Attributes, ErrorSign | None]:
    """The attributes that are kept, and what those said that are classified and dropped."""
    kept: dict[str, Value] = {}
    for pair in pairs:
        key = pair.key
        if errors is not None and errors.is_text(key, pair.value.string_value):
            sign = add_sign(sign, pair.value.string_value)
        elif key in keep:
            value = value_of(key, pair.value)
            if value is not None:
                kept[key] = value
        elif errors is not None and key in errors.documents:
            kept.update(read_document(key, pair.value.string_value, errors.documents[key]))
    return kept, sign


def value_of(key: str, value: AnyValue) -> Value | None:
    """``None`` for what is never kept: bytes, maps, arrays that hold anything but primitives, and no value at all.

    :raises MalformedSpan: for a text, or an array, that takes its span along
    """
    kind = value.WhichOneof("value")
    if kind == "array_value":
        elements = [_primitive(key, element, element.WhichOneof("value")) for element in value.array_value.values]
        return None if None in elements else check_array(key, tuple(element for element in elements if element is not None))
    return _primitive(key, value, kind)


def _primitive(key: str, value: AnyValue, kind: str | None) -> bool | int | float | str | None:
    if kind == "string_value":
        return check_text(key, value.string_value)
    if kind == "int_value":
        return value.int_value
    if kind == "double_value":
        return value.double_value
    if kind == "bool_value":
        return value.bool_value
    return None
