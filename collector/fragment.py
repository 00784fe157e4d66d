"""The Fragment: an allow-listed span that waits for the rest of its request, as bytes that Postgres or the spool keeps.

The disk sees no id of a person: what a row would have as a keyed hash is hashed before it is written, or dropped where there is
no key, and comes back as ``Hashed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from collector.error_sign import ErrorSign
from collector.hash_key import HashKey
from collector.span import Span, SpanEvent, SpanKind, StatusCode, Value

VERSION = 1
"""First byte of a payload. What a later llm-slo writes is left for it."""


class Trace(NamedTuple):
    """What fragments are put together by. Spans that came with tokens of different tenants never meet."""

    tenant: str
    """Tenant of the token; empty where it names none."""
    trace_id: bytes


class Fragment(NamedTuple):
    """One span that waits. ``payload`` is the sealed span; ``patience_seconds`` is how much longer than others it waits."""

    tenant: str
    trace_id: bytes
    span_id: bytes
    payload: bytes
    patience_seconds: float = 0.0

    @property
    def trace(self) -> Trace:
        """What it is a part of."""
        return Trace(self.tenant, self.trace_id)


class Hashed(str):
    """The keyed hash of an id, in hex, in the place of the id."""

    __slots__ = ()


class Unreadable(Exception):
    """A payload that no llm-slo of this version wrote."""


class _Event(NamedTuple):
    name: str
    time_ns: int
    attributes: dict[str, Any]
    error_sign: ErrorSign | None


class _Sealed(NamedTuple):
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    trace_state: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    status: StatusCode
    attributes: dict[str, Any]
    events: tuple[_Event, ...]
    resource: dict[str, Any]
    scope: str
    scope_version: str
    error_sign: ErrorSign | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Sealed)


class Seal:
    """Spans to fragments. ``private`` are the attributes that hold ids of people and nothing else that is read."""

    def __init__(self, private: frozenset[str], hash_key: HashKey | None) -> None:
        self._private = private
        self._hash_key = hash_key

    def __call__(self, span: Span, tenant: str | None, patience_seconds: float = 0.0) -> Fragment:
        """``tenant`` is that of the token that the span came with."""
        sealed = _Sealed(
            *span[:8],
            attributes=self._without_ids(span.attributes),
            events=tuple(_Event(event.name, event.time_ns, dict(event.attributes), event.error_sign) for event in span.events),
            resource=self._without_ids(span.resource),
            scope=span.scope,
            scope_version=span.scope_version,
            error_sign=span.error_sign,
        )
        payload = bytes([VERSION]) + _encoder.encode(sealed)
        return Fragment(tenant or "", span.trace_id, span.span_id, payload, patience_seconds)

    def _without_ids(self, attributes: Mapping[str, Value]) -> dict[str, Any]:
        kept: dict[str, Any] = dict(attributes)
        for key in self._private & kept.keys():
            value = kept.pop(key)
            if self._hash_key is not None and isinstance(value, str | int | float) and value != "":
                # Bytes on the wire: no attribute that a sender wrote ever is.
                kept[key] = self._hash_key.hash(str(value).replace("\0", ""))
        return kept


def unseal(payload: bytes) -> Span:
    """The span of a fragment.

    :raises Unreadable: for what this llm-slo did not write
    """
    if not payload or payload[0] != VERSION:
        raise Unreadable(f"version {payload[:1].hex()}: expected {VERSION:02x}")
    try:
        sealed = _decoder.decode(payload[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error
    return Span(
        *sealed[:8],
        attributes=_attributes(sealed.attributes),
        events=tuple(
            SpanEvent(event.name, event.time_ns, _attributes(event.attributes), event.error_sign) for event in sealed.events
        ),
        resource=_attributes(sealed.resource),
        scope=sealed.scope,
        scope_version=sealed.scope_version,
        error_sign=sealed.error_sign,
    )


def _attributes(read: Mapping[str, Any]) -> dict[str, Value]:
    return {key: _value(value) for key, value in read.items()}


def _value(read: Any) -> Value:
    if isinstance(read, bytes):
        return Hashed(read.hex())
    if isinstance(read, list):
        return tuple(map(_value, read))
    value: Value = read
    return value
