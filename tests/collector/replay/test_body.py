from __future__ import annotations

import json
from typing import Any

import pytest

from collector.errors import MalformedBody
from collector.otlp.allow import Decoded
from collector.otlp.log import DecodedLogs, LogKeys
from collector.replay.body import decode
from tests.collector.example import now
from tests.collector.log_body import log_body, log_json
from tests.collector.otlp.example import ALLOW
from tests.collector.otlp_body import body, chat_span

KEYS = LogKeys(("llm_slo.replica",), ("llm_slo.model",))
SPAN = {"traceId": "1" * 32, "spanId": "2" * 16, "startTimeUnixNano": 1, "endTimeUnixNano": 2}


def decoded(data: bytes, *, is_json: bool) -> Decoded | DecodedLogs:
    return decode(data, is_json, ALLOW, KEYS, now())


@pytest.mark.parametrize(
    ("kind", "data", "is_json"),
    [
        (Decoded, body([chat_span(1, now())]), False),
        (Decoded, body([]), False),
        (Decoded, b"", False),
        (DecodedLogs, log_body(["a line"], now()), False),
        (DecodedLogs, log_body(["a much longer line " * 20], now(), {"llm_slo.replica": "vllm-0"}), False),
        (Decoded, json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]}).encode(), True),
        (Decoded, b"{}", True),
        (DecodedLogs, log_json(["a line"], now()), True),
        (Decoded, b'{"resource_spans": []}', True),
        (DecodedLogs, b'{"resource_logs": [], "half of an emoji": "\\ud83d"}', True),
    ],
)
def test_signal_of_a_body_is_told_by_its_content(kind: type[Any], data: bytes, is_json: bool) -> None:
    assert kind is type(decoded(data, is_json=is_json))


@pytest.mark.parametrize(
    ("expected", "data", "is_json"),
    [
        ("expected an ExportTraceServiceRequest or an ExportLogsServiceRequest in JSON", b'{"resourceSpans": [', True),
        ("expected an ExportTraceServiceRequest or an ExportLogsServiceRequest in JSON", b"[]", True),
        ("either resourceSpans or resourceLogs", b'{"resourceMetrics": []}', True),
        ("either resourceSpans or resourceLogs", b'{"resourceSpans": [], "resourceLogs": []}', True),
        ("not an ExportTraceServiceRequest in JSON", b'{"resourceSpans": 5}', True),
        ("not an ExportTraceServiceRequest in protobuf", b"\xff\xff", False),
    ],
)
def test_what_is_no_body_says_what_was_expected(expected: str, data: bytes, is_json: bool) -> None:
    with pytest.raises(MalformedBody, match=expected):
        decoded(data, is_json=is_json)
