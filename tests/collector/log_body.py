"""OTLP bodies of logs made by hand: what a shipper of container logs sends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.collector.otlp_body import Scalar, attribute

REPLICA = {"llm_slo.replica": "vllm-0", "llm_slo.model": "tiny"}


def nanoseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def log_body(lines: Iterable[str], at: datetime, resource: Mapping[str, Scalar] | None = None) -> bytes:
    request = ExportLogsServiceRequest()
    part = request.resource_logs.add()
    part.resource.attributes.extend(attribute(key, value) for key, value in (REPLICA if resource is None else resource).items())
    scope = part.scope_logs.add()
    for line in lines:
        scope.log_records.add(time_unix_nano=nanoseconds(at), body=AnyValue(string_value=line))
    return request.SerializeToString()


def log_json(lines: Iterable[str], at: datetime) -> bytes:
    resource = [{"key": key, "value": {"stringValue": value}} for key, value in REPLICA.items()]
    records = [{"timeUnixNano": str(nanoseconds(at)), "body": {"stringValue": line}} for line in lines]
    part = {"resource": {"attributes": resource}, "scopeLogs": [{"logRecords": records}]}
    return json.dumps({"resourceLogs": [part]}).encode()
