"""Spans as producers send them, through the decoder that everybody's spans go through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from collector.assemble import assemble
from collector.config import Attributes
from collector.ingest import allow_list
from collector.normalise import Policy, normalise
from collector.otlp.protobuf import decode_protobuf
from collector.request import Request
from collector.span import Span, SpanKind, StatusCode

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
BEGIN_NS = int((NOW - timedelta(minutes=1)).timestamp()) * 1_000_000_000
POLICY = Policy(
    retention=timedelta(days=100),
    engine_retention=timedelta(days=14),
    clock_skew=timedelta(hours=1),
    cluster="default",
    environment="production",
    attributes=Attributes(),
)
Sendable = bool | int | float | str | tuple[str, ...]


class Event(NamedTuple):
    name: str
    after: float = 0.0
    """Seconds after the span's start."""
    attributes: Mapping[str, Sendable] = {}


class Sent(NamedTuple):
    """One span. ``start`` is seconds after the beginning of the trace; ``id`` and ``parent`` are small numbers, 0 for none."""

    attributes: Mapping[str, Sendable]
    scope: str = ""
    kind: SpanKind = SpanKind.INTERNAL
    status: StatusCode = StatusCode.UNSET
    message: str = ""
    events: tuple[Event, ...] = ()
    id: int = 1
    parent: int = 0
    start: float = 0.0
    seconds: float = 2.0
    trace: int = 1


def failed(text: str = "", type: str = "") -> Event:
    """What an SDK records of an exception."""
    return Event("exception", 1.0, {"exception.type": type, "exception.message": text})


def decoded(*sent: Sent, policy: Policy = POLICY) -> list[Span]:
    """The spans, after the allow-list."""
    request = ExportTraceServiceRequest()
    for one in sent:
        scope_spans = request.resource_spans.add().scope_spans.add(spans=[_span(one)])
        scope_spans.scope.name = one.scope
    result = decode_protobuf(request.SerializeToString(), allow_list(policy))
    assert [] == result.rejects
    return result.spans


def rows(*sent: Sent, policy: Policy = POLICY) -> list[Request]:
    """The requests that the spans tell of, in the order of their ends; whatever order they come in, they are the same."""
    found = _rows(decoded(*sent, policy=policy), policy)
    assert found == _rows(decoded(*reversed(sent), policy=policy), policy)
    return found


def _rows(spans: list[Span], policy: Policy) -> list[Request]:
    assembled = assemble(spans)
    assert len(spans) == len(assembled.groups) + assembled.merged + assembled.ignored
    results = [normalise(group, policy, NOW) for group in assembled.groups]
    requests = [result for result in results if isinstance(result, Request)]
    assert results == requests
    return sorted(requests, key=lambda one: (one.observed_by, one.trace_id, one.ended_at, one.span_id))


def row(*sent: Sent, policy: Policy = POLICY) -> Request:
    """The one request that the spans tell of."""
    (found,) = rows(*sent, policy=policy)
    return found


def _span(one: Sent) -> trace_pb2.Span:
    start_ns = BEGIN_NS + int(one.start * 1e9)
    span = trace_pb2.Span(
        trace_id=one.trace.to_bytes(16, "big"),
        span_id=one.id.to_bytes(8, "big"),
        parent_span_id=one.parent.to_bytes(8, "big") if one.parent else b"",
        kind=int(one.kind),  # type: ignore[arg-type]
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + int(one.seconds * 1e9),
        attributes=_pairs(one.attributes),
        status=trace_pb2.Status(code=int(one.status), message=one.message),  # type: ignore[arg-type]
    )
    for event in one.events:
        span.events.add(name=event.name, time_unix_nano=start_ns + int(event.after * 1e9), attributes=_pairs(event.attributes))
    return span


def _pairs(attributes: Mapping[str, Sendable]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Sendable) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, tuple):
        return AnyValue(array_value=ArrayValue(values=[_value(one) for one in value]))
    return AnyValue(string_value=value)
