"""OTLP logs in JSON. Each record is decoded by itself, so that a value of the wrong type rejects its record only."""

from __future__ import annotations

from datetime import datetime

import msgspec

from collector.errors import MalformedBody
from collector.otlp.check import MalformedSpan
from collector.otlp.log import DecodedLogs, LogKeys, LogReader, Source, check_record_count, source_of
from collector.otlp.otlp_json import NOT_JSON, WRONG_TYPE, decode_resource, integer_of, read_body, reason_of, wrong_type
from collector.otlp.otlp_struct import ExportLogsServiceRequest, LogRecord

_body = msgspec.json.Decoder(ExportLogsServiceRequest)
_record = msgspec.json.Decoder(LogRecord)
_SEVERITIES = {
    f"SEVERITY_NUMBER_{name}{step or ''}": first + max(step - 1, 0)
    for first, name in ((1, "TRACE"), (5, "DEBUG"), (9, "INFO"), (13, "WARN"), (17, "ERROR"), (21, "FATAL"))
    for step in (0, 2, 3, 4)
}


def decode_logs_json(body: bytes, keys: LogKeys, now: datetime) -> DecodedLogs:
    """Decode one ExportLogsServiceRequest in OTLP's JSON.

    :raises MalformedBody: for a body that is none
    :raises BodyTooLarge: for one with too many records
    """
    reader = LogReader(keys, now)
    try:
        parts = read_body(_body, body, "resource_logs").resource_logs or ()
        check_record_count(sum(len(scope.log_records or ()) for part in parts for scope in part.scope_logs or ()))
        for part in parts:
            records = [record for scope in part.scope_logs or () for record in scope.log_records or ()]
            try:
                source = source_of(decode_resource(part.resource, keys.all), keys)
            except MalformedSpan as malformed:
                reader.rejects.extend([malformed.reject] * len(records))
                continue
            for record in records:
                _read(reader, source, record)
    except NOT_JSON as error:
        raise MalformedBody(f"the body is not an ExportLogsServiceRequest in JSON: {reason_of(error)}") from None
    return reader.decoded()


def _read(reader: LogReader, source: Source, raw: msgspec.Raw) -> None:
    try:
        record = _record.decode(raw)
        severity = record.severity_number
        reader.read(
            source,
            record.body.string_value or "" if record.body is not None else "",
            integer_of("time_unix_nano", record.time_unix_nano),
            integer_of("observed_time_unix_nano", record.observed_time_unix_nano),
            _SEVERITIES.get(severity, 0) if isinstance(severity, str) else int(severity or 0),
        )
    except WRONG_TYPE as error:
        reader.rejects.append(wrong_type("log_record", error).reject)
    except MalformedSpan as malformed:
        reader.rejects.append(malformed.reject)
