"""The signals that are received: where their bodies arrive, how they are read, who takes them, and how they are answered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from google.protobuf.message import Message

from collector.otlp.allow import AllowList, Decoded, Ingest
from collector.otlp.log import DecodedLogs, LogKeys, TakeLogs
from collector.otlp.log_json import decode_logs_json
from collector.otlp.log_protobuf import decode_logs_protobuf
from collector.otlp.otlp_json import decode_json
from collector.otlp.partial import logs_answer, traces_answer
from collector.otlp.protobuf import decode_protobuf
from collector.request import Reject

PROTOBUF, JSON = "application/x-protobuf", "application/json"

HandOver = Callable[[], Coroutine[Any, Any, Sequence[Reject]]]
"""Gives a decoded body to the next stage and returns, once everything is committed, all that was rejected."""
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

    def decoder(decode: Callable[[bytes, AllowList], Decoded]) -> Decode:
        def read(body: bytes) -> HandOver:
            decoded = decode(body, allow)

            async def hand_over() -> Sequence[Reject]:
                receipt = await ingest(decoded)
                return (*decoded.rejects, *receipt.rejected)

            return hand_over

        return read

    return Signal(
        path="/v1/traces",
        service="opentelemetry.proto.collector.trace.v1.TraceService",
        decoders={PROTOBUF: decoder(decode_protobuf), JSON: decoder(decode_json)},
        answer=traces_answer,
        rejected_key="rejectedSpans",
    )


def logs(ingest: TakeLogs, keys: LogKeys, now: Callable[[], datetime]) -> Signal:
    """Log records of engines."""

    def decoder(decode: Callable[[bytes, LogKeys, datetime], DecodedLogs]) -> Decode:
        def read(body: bytes) -> HandOver:
            decoded = decode(body, keys, now())

            async def hand_over() -> Sequence[Reject]:
                receipt = await ingest(decoded)
                return (*decoded.rejects, *receipt.rejected)

            return hand_over

        return read

    return Signal(
        path="/v1/logs",
        service="opentelemetry.proto.collector.logs.v1.LogsService",
        decoders={PROTOBUF: decoder(decode_logs_protobuf), JSON: decoder(decode_logs_json)},
        answer=logs_answer,
        rejected_key="rejectedLogRecords",
    )
