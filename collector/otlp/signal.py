"""The signals that are received: where their bodies arrive, how they are read, who takes them, and how they are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

from collector.errors import Forbidden
from collector.otlp.allow import AllowList, Ingest, Receipt
from collector.otlp.decoder import Decoder
from collector.otlp.log import DecodedLogs, LogKeys, TakeLogs
from collector.otlp.log_json import decode_logs_json
from collector.otlp.log_protobuf import decode_logs_protobuf
from collector.otlp.otlp_json import decode_json
from collector.otlp.partial import logs_answer, traces_answer
from collector.request import Reject
from collector.token import Principal

PROTOBUF, JSON = "application/x-protobuf", "application/json"


class _Decoded(Protocol):
    """What every decoder gives, whatever it decodes."""

    @property
    def rejects(self) -> Sequence[Reject]: ...


Body = TypeVar("Body", bound=_Decoded)
HandOver = Callable[[Principal], Coroutine[Any, Any, Sequence[Reject]]]
"""Gives a decoded body to the next stage and returns, once everything is committed, all that was rejected. Raises Overloaded
where nothing was taken, and Forbidden where the sender may not send this."""
Decode = Callable[[bytes], HandOver]


class Signal(NamedTuple):
    """One kind of telemetry."""

    path: str
    """Of HTTP."""
    service: str
    """Of gRPC."""
    decoders: Mapping[str, Decode]
    """By content type. Each raises MalformedBody and BodyTooLarge."""
    answer: Callable[[Sequence[Reject]], Message]
    rejected_key: str
    """What a partial success in JSON calls the number of what was rejected."""


def traces(ingest: Ingest, allow: AllowList) -> Signal:
    """Spans."""
    return Signal(
        path="/v1/traces",
        service="opentelemetry.proto.collector.trace.v1.TraceService",
        decoders={
            PROTOBUF: _reader(Decoder(allow), ingest),
            JSON: _reader(lambda body: decode_json(body, allow), ingest),
        },
        answer=traces_answer,
        rejected_key="rejectedSpans",
    )


def logs(ingest: TakeLogs, keys: LogKeys, now: Callable[[], datetime]) -> Signal:
    """Log records of engines, which are nobody's tenant."""

    async def take(decoded: DecodedLogs, principal: Principal) -> Receipt:
        if principal.tenant is not None:
            raise Forbidden("logs of engines: the token of a tenant may not send them")
        return await ingest(decoded)

    return Signal(
        path="/v1/logs",
        service="opentelemetry.proto.collector.logs.v1.LogsService",
        decoders={
            PROTOBUF: _reader(lambda body: decode_logs_protobuf(body, keys, now()), take),
            JSON: _reader(lambda body: decode_logs_json(body, keys, now()), take),
        },
        answer=logs_answer,
        rejected_key="rejectedLogRecords",
    )


def _reader(decode: Callable[[bytes], Body], take: Callable[[Body, Principal], Awaitable[Receipt]]) -> Decode:
    """Decode a body, and say how to hand it over; the two may be done in different threads."""

    def read(body: bytes) -> HandOver:
        decoded = decode(body)

        async def hand_over(principal: Principal) -> Sequence[Reject]:
            receipt = await take(decoded, principal)
            return (*decoded.rejects, *receipt.rejected)

        return hand_over

    return read
