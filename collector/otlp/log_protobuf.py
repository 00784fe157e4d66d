"""OTLP logs in protobuf: the body of both transports."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collector.errors import MalformedBody
from collector.otlp.check import MalformedSpan
from collector.otlp.log import DecodedLogs, LogKeys, LogReader, Source, check_record_count, source_of
from collector.otlp.outline import cut, read
from collector.otlp.protobuf import attributes_of


def decode_logs_protobuf(body: bytes, keys: LogKeys, now: datetime) -> DecodedLogs:
    """Decode one ExportLogsServiceRequest.

    :raises MalformedBody: for a body that is none
    :raises BodyTooLarge: for one with too many records
    """
    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        return _decode_in_parts(body, keys, now)
    check_record_count(sum(len(scope.log_records) for part in request.resource_logs for scope in part.scope_logs))
    reader = LogReader(keys, now)
    for part in request.resource_logs:
        records = [record for scope in part.scope_logs for record in scope.log_records]
        try:
            resource, _ = attributes_of(part.resource.attributes, keys.all, None)
        except MalformedSpan as malformed:
            # A resource is part of each of its records.
            reader.rejects.extend([malformed.reject] * len(records))
            continue
        source = source_of(resource, keys)
        for record in records:
            _read(reader, source, record)
    return reader.decoded()


def _read(reader: LogReader, source: Source, record: LogRecord) -> None:
    try:
        # Empty for a body that is no string: maps and bytes are no lines of a log.
        text = record.body.string_value
        reader.read(source, text, record.time_unix_nano, record.observed_time_unix_nano, record.severity_number)
    except MalformedSpan as malformed:
        reader.rejects.append(malformed.reject)


def _decode_in_parts(body: bytes, keys: LogKeys, now: datetime) -> DecodedLogs:
    """Record by record: what protobuf does not read costs its record, and not the whole body."""
    try:
        parts = cut(body)
    except DecodeError:
        raise MalformedBody("the body is not an ExportLogsServiceRequest in protobuf") from None
    check_record_count(sum(part.size for part in parts))
    reader = LogReader(keys, now)
    for part in parts:
        try:
            source = source_of(attributes_of(read(Resource(), part.resource, "resource").attributes, keys.all, None)[0], keys)
        except MalformedSpan as malformed:
            reader.rejects.extend([malformed.reject] * part.size)
            continue
        for item in (item for scope in part.scopes for item in scope.items):
            try:
                _read(reader, source, read(LogRecord(), item, "log_record"))
            except MalformedSpan as malformed:
                reader.rejects.append(malformed.reject)
    return reader.decoded()
