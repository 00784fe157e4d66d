"""OTLP logs in protobuf: the body of both transports."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.errors import MalformedBody
from collector.otlp.check import MalformedSpan
from collector.otlp.log import DecodedLogs, LogKeys, LogReader, check_record_count, source_of
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
        raise MalformedBody("the body is not an ExportLogsServiceRequest in protobuf") from None
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
            try:
                # Empty for a body that is no string: maps and bytes are no lines of a log.
                text = record.body.string_value
                reader.read(source, text, record.time_unix_nano, record.observed_time_unix_nano, record.severity_number)
            except MalformedSpan as malformed:
                reader.rejects.append(malformed.reject)
    return reader.decoded()
