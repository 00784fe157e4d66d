"""The Span: one OTLP span after the allow-list, before anybody has said what it means.

A span never holds prompt, completion or error text. Attribute keys that no dialect asked for are dropped while the body is
decoded, and error text is classified there and then, because error text can echo a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from collector.error_sign import ErrorSign

Value = bool | int | float | str | tuple["Value", ...]
"""An OTLP AnyValue that is kept. Bytes and maps never are."""

Attributes = Mapping[str, Value]


class SpanKind(IntEnum):
    """OTLP's numbers."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class StatusCode(IntEnum):
    """OTLP's numbers."""

    UNSET = 0
    OK = 1
    ERROR = 2


class SpanEvent(NamedTuple):
    """A span event: its name, nanoseconds since the epoch, allow-listed attributes, and what its error text said."""

    name: str
    time_ns: int
    attributes: Attributes
    error_sign: ErrorSign | None = None


class Span(NamedTuple):
    """One OTLP span. ``trace_id`` is 16 bytes, ``span_id`` 8, ``parent_span_id`` 8 or empty; times are ns since the epoch."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    trace_state: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    status: StatusCode
    attributes: Attributes
    events: tuple[SpanEvent, ...]
    resource: Attributes
    scope: str
    scope_version: str
    error_sign: ErrorSign | None = None
    """What the status message, or an attribute that holds error text, said."""
