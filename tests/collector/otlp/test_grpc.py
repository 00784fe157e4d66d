from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from collector.errors import StoreUnavailable
from collector.otlp.grpc import serve_grpc
from collector.otlp.signal import traces
from collector.request import Reject, RejectReason
from tests.collector.example import now
from tests.collector.otlp.example import ALLOW, OPEN, Next
from tests.collector.otlp_body import body, chat_span
from tests.collector.port import free_address

LIMIT = 100_000
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
BODY = body([chat_span(number, now()) for number in range(3)])


@pytest.fixture
def next_stage() -> Next:
    return Next()


@pytest.fixture
async def address(next_stage: Next) -> AsyncIterator[str]:
    address = free_address()
    async with serve_grpc(address, [traces(next_stage, ALLOW)], LIMIT, OPEN):
        yield address


def call(address: str, data: bytes, compression: grpc.Compression = grpc.Compression.NoCompression) -> bytes:
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(METHOD)
        answer = export(data, timeout=10, compression=compression)
        assert isinstance(answer, bytes)
        return answer


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_body_is_handed_over(address: str, next_stage: Next, compression: grpc.Compression) -> None:
    assert b"" == await asyncio.to_thread(call, address, BODY, compression)
    assert [3] == [len(decoded.spans) for decoded in next_stage.bodies]


async def test_rejected_spans_are_a_partial_success(address: str, next_stage: Next) -> None:
    next_stage.rejected = (Reject(RejectReason.END_BEFORE_START, "endTimeUnixNano", "1", "at least 2"),)
    answer = ExportTraceServiceResponse.FromString(await asyncio.to_thread(call, address, BODY))
    assert 1 == answer.partial_success.rejected_spans
    assert "endTimeUnixNano=1" in answer.partial_success.error_message


@pytest.mark.parametrize(
    ("code", "data"),
    [(grpc.StatusCode.INVALID_ARGUMENT, b"<html>"), (grpc.StatusCode.RESOURCE_EXHAUSTED, b"x" * (LIMIT + 1))],
)
async def test_bad_body_has_the_right_code(address: str, next_stage: Next, code: grpc.StatusCode, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(call, address, data)
    assert code is caught.value.code()
    assert [] == next_stage.bodies


async def test_sender_is_asked_to_come_again_when_nothing_was_taken(address: str, next_stage: Next) -> None:
    next_stage.fails = StoreUnavailable("Postgres did not commit", 7)
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(call, address, BODY)
    error = caught.value
    assert grpc.StatusCode.UNAVAILABLE is error.code()
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = RetryInfo()
    Status.FromString(details).details[0].Unpack(info)
    assert 7 == info.retry_delay.seconds


async def test_fault_of_ours_makes_no_sender_drop_what_it_has(address: str, next_stage: Next) -> None:
    next_stage.fails = ZeroDivisionError("secret")
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(call, address, BODY)
    assert (grpc.StatusCode.UNAVAILABLE, "internal error") == (caught.value.code(), caught.value.details())


async def test_opentelemetrys_own_exporter_is_understood(address: str, next_stage: Next) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=address, insecure=True)))

    def export() -> None:
        with provider.get_tracer("test").start_as_current_span("chat", attributes={"gen_ai.request.model": "tiny"}):
            pass
        provider.shutdown()

    await asyncio.to_thread(export)
    assert [{"gen_ai.request.model": "tiny"}] == [span.attributes for decoded in next_stage.bodies for span in decoded.spans]
