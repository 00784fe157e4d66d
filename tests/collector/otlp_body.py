"""OTLP bodies made by hand: what a gateway's exporter sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Scalar = str | int | float | bool


def attribute(key: str, value: Scalar) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def chat_span(number: int, ended_at: datetime, **attributes: Scalar) -> Span:
    """One gateway span. Equal numbers and times make equal keys; ``attributes`` use ``__`` for a dot."""
    end_ns = int((ended_at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6) * 1000
    named: dict[str, Scalar] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "tiny",
        "tenant.id": f"tenant-{number % 3}",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.response.finish_reasons": '["stop"]',
        "gen_ai.response.time_to_first_chunk": 0.1,
    }
    named |= {key.replace("__", "."): value for key, value in attributes.items()}
    return Span(
        trace_id=(number + 1).to_bytes(16, "big"),
        span_id=(number + 1).to_bytes(8, "big"),
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=end_ns - 2_000_000_000,
        end_time_unix_nano=end_ns,
        attributes=[attribute(key, value) for key, value in named.items()],
    )


def body(spans: Iterable[Span], resource: Mapping[str, Scalar] | None = None) -> bytes:
    request = ExportTraceServiceRequest()
    part = request.resource_spans.add()
    part.resource.attributes.extend(attribute(key, value) for key, value in (resource or {}).items())
    part.scope_spans.add(spans=spans).scope.name = "test.gateway"
    return request.SerializeToString()
