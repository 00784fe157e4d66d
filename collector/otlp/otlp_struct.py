"""The shapes of OTLP's JSON, as far as anything in them is read. Spans and resources stay raw until they are decoded alone."""

from __future__ import annotations

import msgspec

_NOTHING = msgspec.Raw(b"null")

Integer = int | float | str
"""A 64-bit integer: protobuf's JSON mapping writes it as a string, and many producers write a number."""
Enumeration = int | float | str | None
"""By number, as OTLP asks for, or by name, as protobuf's JSON mapping does."""


class Struct(msgspec.Struct, rename="camel"):
    """Keys in lowerCamelCase; unknown keys are ignored."""


class ArrayValue(Struct):
    """An array of values."""

    values: list[AnyValue] | None = None


class AnyValue(Struct):
    """One value: at most one of the members is there. Bytes and maps are not read."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Integer | None = None
    double_value: float | int | str | None = None
    array_value: ArrayValue | None = None


class KeyValue(Struct):
    """One attribute; its value stays raw, since most are dropped unread."""

    key: str = ""
    value: msgspec.Raw = _NOTHING


class Event(Struct):
    """A span event."""

    time_unix_nano: Integer = 0
    name: str = ""
    attributes: list[KeyValue] | None = None


class Status(Struct):
    """A span's status."""

    message: str | None = None
    code: Enumeration = 0


class Span(Struct):
    """One span."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    trace_state: str | None = None
    kind: Enumeration = 0
    start_time_unix_nano: Integer = 0
    end_time_unix_nano: Integer = 0
    attributes: list[KeyValue] | None = None
    events: list[Event] | None = None
    status: Status | None = None


class Scope(Struct):
    """The instrumentation scope."""

    name: str | None = None
    version: str | None = None


class Resource(Struct):
    """What produced the spans."""

    attributes: list[KeyValue] | None = None


class ScopeSpans(Struct):
    """Spans of one scope, each still raw."""

    scope: Scope | None = None
    spans: list[msgspec.Raw] | None = None


class ResourceSpans(Struct):
    """Spans of one resource, which is still raw."""

    resource: msgspec.Raw = _NOTHING
    scope_spans: list[ScopeSpans] | None = None


class ExportTraceServiceRequest(Struct):
    """A body."""

    resource_spans: list[ResourceSpans] | None = None


class LogRecord(Struct):
    """One log record."""

    time_unix_nano: Integer = 0
    observed_time_unix_nano: Integer = 0
    severity_number: Enumeration = 0
    body: AnyValue | None = None


class ScopeLogs(Struct):
    """Log records of one scope, each still raw."""

    log_records: list[msgspec.Raw] | None = None


class ResourceLogs(Struct):
    """Log records of one resource, which is still raw."""

    resource: msgspec.Raw = _NOTHING
    scope_logs: list[ScopeLogs] | None = None


class ExportLogsServiceRequest(Struct):
    """A body of logs."""

    resource_logs: list[ResourceLogs] | None = None
