"""One OTLP body of a file: of which signal it is, and decoded as the receivers decode it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.errors import MalformedBody
from collector.otlp.allow import AllowList, Decoded
from collector.otlp.json_text import without_half_pairs
from collector.otlp.log import DecodedLogs, LogKeys
from collector.otlp.log_json import decode_logs_json
from collector.otlp.log_protobuf import decode_logs_protobuf
from collector.otlp.otlp_json import NOT_JSON, decode_json, reason_of
from collector.otlp.protobuf import decode_protobuf

EXPECTED = "an ExportTraceServiceRequest or an ExportLogsServiceRequest"
_SPANS, _LOGS = "resourceSpans", "resourceLogs"
_CAMEL = {"resource_spans": _SPANS, "resource_logs": _LOGS}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(data: bytes, is_json: bool, allow: AllowList, keys: LogKeys, now: datetime) -> Decoded | DecodedLogs:
    """Decode a body, in JSON or else in protobuf.

    :raises MalformedBody: for one that is neither of spans nor of logs
    :raises BodyTooLarge: for one with too much in it
    """
    if is_json:
        return decode_json(data, allow) if _holds_spans(data) else decode_logs_json(data, keys, now)
    if _is_of_logs(data):
        return decode_logs_protobuf(data, keys, now)
    return decode_protobuf(data, allow)


def _holds_spans(data: bytes) -> bool:
    """Whether a body in JSON is of spans; else it is of logs. The receivers take an object without either for an empty body."""
    try:
        members = {_CAMEL.get(name, name) for name in _members_of(data)}
    except NOT_JSON as error:
        raise MalformedBody(f"expected {EXPECTED} in JSON: {reason_of(error)}") from None
    if members and len(members & {_SPANS, _LOGS}) != 1:
        raise MalformedBody(f"expected {EXPECTED} in JSON, which has either {_SPANS} or {_LOGS}")
    return _LOGS not in members


def _members_of(data: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _members.decode(data)
    except msgspec.DecodeError:
        return _members.decode(without_half_pairs(data))


def _is_of_logs(data: bytes) -> bool:
    """Whether a protobuf body is of logs.

    Both begin alike, down to the span or record. There the types of the fields differ, and what one has is unknown to the
    other.
    """
    logs = ExportLogsServiceRequest()
    try:
        logs.ParseFromString(data)
    except DecodeError:
        return False
    records = [record for part in logs.resource_logs for scope in part.scope_logs for record in scope.log_records]
    if not any(record.time_unix_nano or record.observed_time_unix_nano or record.HasField("body") for record in records):
        return False
    spans = ExportTraceServiceRequest()
    try:
        spans.ParseFromString(data)
    except DecodeError:
        return True
    return not any(
        span.trace_id or span.start_time_unix_nano
        for part in spans.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    )
