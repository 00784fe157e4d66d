from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator

import pytest
import zstandard
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from collector.errors import AddressUnavailable, StoreUnavailable
from collector.otlp.check import MOST_SPANS
from collector.otlp.http import application, serve_http
from collector.otlp.signal import JSON, PROTOBUF, traces
from collector.request import Reject, RejectReason
from tests.collector.example import now
from tests.collector.otlp.example import ALLOW, OPEN, Next
from tests.collector.otlp_body import body, chat_span
from tests.collector.port import free_address

LIMIT = 200_000
UNSIZED_BOMB = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50_000_000))
BODY = body([chat_span(number, now()) for number in range(3)])
SPAN = b'{"traceId":"11111111111111111111111111111111","spanId":"2222222222222222","startTimeUnixNano":"1","endTimeUnixNano":2}'
TEXT = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % SPAN


@pytest.fixture
def next_stage() -> Next:
    return Next()


@pytest.fixture
async def client(next_stage: Next) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    server = TestServer(application([traces(next_stage, ALLOW)], LIMIT, OPEN))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client


Client = TestClient[web.Request, web.Application]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (None, BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:500]) + gzip.compress(BODY[500:])),
        ("zstd", zstandard.ZstdCompressor().compress(BODY)),
        ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress(BODY)),
    ],
)
async def test_every_encoding_hands_over_the_same_spans(
    client: Client, next_stage: Next, encoding: str | None, data: bytes
) -> None:
    headers = {"Content-Type": PROTOBUF} | ({"Content-Encoding": encoding} if encoding else {})
    response = await client.post("/v1/traces", data=data, headers=headers)
    assert (200, PROTOBUF, b"") == (response.status, response.content_type, await response.read())
    assert [3] == [len(decoded.spans) for decoded in next_stage.bodies]


async def test_json_is_answered_in_json(client: Client, next_stage: Next) -> None:
    response = await client.post("/v1/traces", data=TEXT, headers={"Content-Type": "application/json; charset=utf-8"})
    assert (200, JSON, {}) == (response.status, response.content_type, await response.json())
    assert [1] == [len(decoded.spans) for decoded in next_stage.bodies]


async def test_rejected_spans_are_a_partial_success_that_names_field_value_and_expectation(
    client: Client, next_stage: Next
) -> None:
    next_stage.rejected = (Reject(RejectReason.NEGATIVE_TOKENS, "gen_ai.usage.input_tokens", "-5", "tokens, 0 or more"),)
    response = await client.post("/v1/traces", data=BODY, headers={"Content-Type": PROTOBUF})
    partial = ExportTraceServiceResponse.FromString(await response.read()).partial_success
    assert (1, "negative_tokens: gen_ai.usage.input_tokens=-5: expected tokens, 0 or more") == (
        partial.rejected_spans,
        partial.error_message,
    )
    answer = await (await client.post("/v1/traces", data=TEXT, headers={"Content-Type": JSON})).json()
    assert "1" == answer["partialSuccess"]["rejectedSpans"]


@pytest.mark.parametrize(
    ("status", "headers", "data"),
    [
        (400, {"Content-Type": PROTOBUF}, b"<html>not found</html>"),
        (400, {"Content-Type": PROTOBUF}, BODY[:-7]),
        (400, {"Content-Type": JSON}, TEXT[:-3]),
        (400, {"Content-Type": JSON}, b"[]"),
        (400, {"Content-Type": JSON}, b"[" * 50_000),
        (400, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, BODY),
        (400, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(BODY)[:-9]),
        (400, {"Content-Type": PROTOBUF, "Content-Encoding": "zstd"}, zstandard.compress(BODY)[:-3]),
        (400, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(BODY) + b"more"),
        (400, {"Content-Type": PROTOBUF, "Content-Encoding": "zstd"}, zstandard.compress(BODY) * 2),
        (413, {"Content-Type": PROTOBUF}, b"x" * (LIMIT + 1)),
        (413, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(bytes(50_000_000))),
        (413, {"Content-Type": PROTOBUF, "Content-Encoding": "zstd"}, zstandard.compress(bytes(50_000_000))),
        (413, {"Content-Type": PROTOBUF, "Content-Encoding": "zstd"}, UNSIZED_BOMB),
        (415, {"Content-Type": "text/html"}, BODY),
        (415, {"Content-Type": PROTOBUF, "Content-Encoding": "br"}, BODY),
    ],
)
async def test_bad_body_costs_its_sender_the_right_status_in_the_encoding_of_the_request(
    client: Client, next_stage: Next, status: int, headers: dict[str, str], data: bytes
) -> None:
    response = await client.post("/v1/traces", data=data, headers=headers, skip_auto_headers=["Content-Encoding"])
    answer = await response.read()
    assert status == response.status
    message = Status.FromString(answer).message if headers["Content-Type"] == PROTOBUF else json.loads(answer)["message"]
    assert message
    assert [] == next_stage.bodies


async def test_sender_is_asked_to_come_again_when_nothing_was_taken(client: Client, next_stage: Next) -> None:
    next_stage.fails = StoreUnavailable("Postgres did not commit", 7)
    response = await client.post("/v1/traces", data=BODY, headers={"Content-Type": PROTOBUF})
    assert (503, "7") == (response.status, response.headers["Retry-After"])


async def test_fault_of_ours_makes_no_sender_drop_what_it_has(client: Client, next_stage: Next) -> None:
    next_stage.fails = ZeroDivisionError("secret")
    response = await client.post("/v1/traces", data=BODY, headers={"Content-Type": PROTOBUF})
    assert (503, "5", False) == (response.status, response.headers["Retry-After"], b"secret" in await response.read())


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
async def test_body_of_too_many_spans_is_too_large(client: Client, next_stage: Next, content_type: str) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for _ in range(MOST_SPANS + 1):
        spans.add()
    text = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % b",".join([b"0"] * (MOST_SPANS + 1))
    data = request.SerializeToString() if content_type == PROTOBUF else text
    response = await client.post("/v1/traces", data=data, headers={"Content-Type": content_type})
    assert 413 == response.status
    assert [] == next_stage.bodies


async def test_other_methods_and_paths_are_refused(client: Client) -> None:
    assert 405 == (await client.get("/v1/traces")).status
    assert 404 == (await client.post("/v1/nothing")).status


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_opentelemetrys_own_exporter_is_understood(next_stage: Next, compression: Compression) -> None:
    address = free_address()
    async with serve_http(address, [traces(next_stage, ALLOW)], LIMIT, OPEN):
        provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"http://{address}/v1/traces", compression=compression)
        provider.add_span_processor(SimpleSpanProcessor(exporter))

        def export() -> None:
            with provider.get_tracer("test").start_as_current_span("chat", attributes={"gen_ai.request.model": "tiny"}):
                pass
            provider.shutdown()

        await asyncio.to_thread(export)
    assert [{"gen_ai.request.model": "tiny"}] == [span.attributes for decoded in next_stage.bodies for span in decoded.spans]


async def test_port_in_use_is_said_with_the_key_of_the_configuration(next_stage: Next) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressUnavailable, match=rf"listen\.otlp_http: cannot listen on {address}: .*in use"):
            async with serve_http(address, [traces(next_stage, ALLOW)], LIMIT, OPEN):
                pass
