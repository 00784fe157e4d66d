from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList

from collector.death import Mark
from collector.death_sign import find_sign
from collector.errors import BodyTooLarge, MalformedBody, StoreUnavailable
from collector.otlp.allow import Receipt
from collector.otlp.grpc import serve_grpc
from collector.otlp.http import application
from collector.otlp.log import MOST_RECORDS, DecodedLogs, LogKeys, Source
from collector.otlp.log_json import decode_logs_json
from collector.otlp.log_protobuf import decode_logs_protobuf
from collector.otlp.signal import JSON, PROTOBUF, logs
from tests.collector.log_body import REPLICA, log_body, log_json
from tests.collector.otlp.example import OPEN
from tests.collector.port import free_address

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEYS = LogKeys(("llm_slo.replica", "host"), ("llm_slo.model",))
LIMIT = 2_000_000
METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
FATAL = "EngineCore encountered a fatal error."
BODY = log_body([FATAL, "a line like any other"], NOW)
OOM_LOG = (Path(__file__).parent.parent.parent / "data" / "vllm" / "oom.log").read_text().splitlines()


class Taken:
    """The stage after the receivers."""

    def __init__(self) -> None:
        self.bodies: list[DecodedLogs] = []
        self.fails: Exception | None = None

    async def __call__(self, decoded: DecodedLogs) -> Receipt:
        if self.fails is not None:
            raise self.fails
        self.bodies.append(decoded)
        return Receipt(())


Client = TestClient[web.Request, web.Application]


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
async def client(taken: Taken) -> AsyncIterator[Client]:
    server = TestServer(application([logs(taken, KEYS, lambda: NOW)], LIMIT, OPEN))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client


def test_both_encodings_say_the_same() -> None:
    assert decode_logs_json(log_json(OOM_LOG, NOW), KEYS, NOW) == decode_logs_protobuf(log_body(OOM_LOG, NOW), KEYS, NOW)


def test_record_is_a_mark_of_its_source_at_its_time() -> None:
    at = NOW - timedelta(seconds=7)
    decoded = decode_logs_protobuf(log_body([FATAL, "else"], at), KEYS, NOW)
    assert DecodedLogs({Source("vllm-0", "tiny"): [Mark(at, find_sign(FATAL))]}, 1, 1, []) == decoded


@pytest.mark.parametrize(
    ("resource", "source"),
    [
        ({}, Source("unknown", None)),
        ({"service.instance.id": "x", "service.name": "vllm"}, Source("unknown", None)),
        ({"host": "node-1"}, Source("node-1", None)),
        ({"host": "node-1", **REPLICA}, Source("vllm-0", "tiny")),
    ],
)
def test_source_is_named_by_the_first_configured_attribute_and_by_no_other(resource: dict[str, str], source: Source) -> None:
    assert [source] == list(decode_logs_protobuf(log_body([FATAL], NOW, resource), KEYS, NOW).marks)


@pytest.mark.parametrize(
    ("record", "at"),
    [
        ({}, NOW),
        ({"observedTimeUnixNano": "1000000000"}, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ({"timeUnixNano": str(2**62)}, NOW),
    ],
)
def test_time_is_that_of_the_record_and_never_after_its_arrival(record: dict[str, str], at: datetime) -> None:
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{**record, "body": {"stringValue": FATAL}}]}]}]}
    decoded = decode_logs_json(json.dumps(body).encode(), KEYS, NOW)
    assert [at] == [mark.at for marks in decoded.marks.values() for mark in marks]


def test_severity_by_number_and_by_name() -> None:
    records = [
        {"severityNumber": number, "body": {"stringValue": "CUDA out of memory"}}
        for number in (5, "SEVERITY_NUMBER_DEBUG", "SEVERITY_NUMBER_TRACE4", 17, "SEVERITY_NUMBER_ERROR", "SEVERITY_NUMBER_NEW")
    ]
    decoded = decode_logs_json(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode(), KEYS, NOW)
    assert (3, 3) == (decoded.facts, decoded.ignored)


def test_body_that_is_no_text_is_ignored() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(body=AnyValue(bytes_value=b"CUDA out of memory"))
    pair = KeyValue(key="msg", value=AnyValue(string_value="CUDA out of memory"))
    records.add(body=AnyValue(kvlist_value=KeyValueList(values=[pair])))
    records.add()
    assert (0, 3, []) == decode_logs_protobuf(request.SerializeToString(), KEYS, NOW)[1:]


def test_malformed_records_are_rejected_and_the_rest_lands() -> None:
    records = '{"body":"no AnyValue"},{"timeUnixNano":"-1"},{"timeUnixNano":"1","body":{"stringValue":"CUDA out of memory"}}'
    decoded = decode_logs_json(f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}'.encode(), KEYS, NOW)
    assert (1, 0, ["wrong_type", "wrong_type"]) == (
        decoded.facts,
        decoded.ignored,
        [reject.reason.value for reject in decoded.rejects],
    )


def test_malformed_resource_takes_its_records_along() -> None:
    decoded = decode_logs_protobuf(log_body([FATAL, FATAL], NOW, {"llm_slo.replica": "x" * 5000}), KEYS, NOW)
    assert ({}, ["too_large", "too_large"]) == (decoded.marks, [reject.reason.value for reject in decoded.rejects])


@pytest.mark.parametrize("decode", [decode_logs_protobuf, decode_logs_json])
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_body_or_are_refused(decode: object, body: bytes) -> None:
    assert callable(decode)
    with suppress(MalformedBody):
        decode(body, KEYS, NOW)


def test_too_many_records_are_refused() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for _ in range(MOST_RECORDS + 1):
        records.add()
    with pytest.raises(BodyTooLarge, match=str(MOST_RECORDS)):
        decode_logs_protobuf(request.SerializeToString(), KEYS, NOW)


@pytest.mark.parametrize(
    ("content_type", "encoding", "data"),
    [
        (PROTOBUF, None, BODY),
        (PROTOBUF, "gzip", gzip.compress(BODY)),
        (JSON, None, log_json([FATAL, "a line like any other"], NOW)),
    ],
)
async def test_post_is_handed_over(client: Client, taken: Taken, content_type: str, encoding: str | None, data: bytes) -> None:
    headers = {"Content-Type": content_type} | ({"Content-Encoding": encoding} if encoding else {})
    response = await client.post("/v1/logs", data=data, headers=headers)
    assert (200, content_type) == (response.status, response.content_type)
    assert [(1, 1)] == [(decoded.facts, decoded.ignored) for decoded in taken.bodies]


async def test_rejected_records_are_a_partial_success_in_the_words_of_logs(client: Client) -> None:
    data = log_body([FATAL], NOW, {"llm_slo.replica": "a\0b"})
    response = await client.post("/v1/logs", data=data, headers={"Content-Type": PROTOBUF})
    partial = ExportLogsServiceResponse.FromString(await response.read()).partial_success
    assert (200, 1, True) == (response.status, partial.rejected_log_records, "llm_slo.replica" in partial.error_message)
    text = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":7}]}]}]}'
    answer = await (await client.post("/v1/logs", data=text, headers={"Content-Type": JSON})).json()
    assert "1" == answer["partialSuccess"]["rejectedLogRecords"]


@pytest.mark.parametrize(
    ("status", "content_type", "data"),
    [(400, PROTOBUF, b"<html>"), (400, JSON, b"{"), (413, PROTOBUF, b"x" * (LIMIT + 1)), (415, "text/plain", BODY)],
)
async def test_bad_body_has_the_status_of_a_bad_body_of_spans(
    client: Client, taken: Taken, status: int, content_type: str, data: bytes
) -> None:
    response = await client.post("/v1/logs", data=data, headers={"Content-Type": content_type})
    assert (status, []) == (response.status, taken.bodies)


async def test_sender_is_asked_to_come_again_when_nothing_was_taken(client: Client, taken: Taken) -> None:
    taken.fails = StoreUnavailable("Postgres did not commit", 7)
    response = await client.post("/v1/logs", data=BODY, headers={"Content-Type": PROTOBUF})
    assert (503, "7") == (response.status, response.headers["Retry-After"])


def _call(address: str, data: bytes) -> bytes:
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(METHOD)(data, timeout=10)
        assert isinstance(answer, bytes)
        return answer


async def test_grpc_takes_logs_by_the_same_way(taken: Taken) -> None:
    address = free_address()
    async with serve_grpc(address, [logs(taken, KEYS, lambda: NOW)], LIMIT, OPEN):
        assert b"" == await asyncio.to_thread(_call, address, BODY)
        taken.fails = StoreUnavailable("Postgres did not commit", 7)
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(_call, address, BODY)
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
    assert [(1, 1)] == [(decoded.facts, decoded.ignored) for decoded in taken.bodies]
