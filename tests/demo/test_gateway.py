"""The gateway against a fake server: what callers get, and the one span that says so."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from demo.engine import free_port
from demo.gateway import Gateway
from demo.gateway import Upstream as Address
from demo.tenant import Directory, Key, Limit
from tests.demo.upstream import ANSWER, PROMPT, Upstream

KEY = "sk-acme"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
DEADLINE_SECONDS = 0.3
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


class _SpanEnds(SimpleSpanProcessor):
    """Lets a test wait for the end of a span, which for a caller that left comes when no one answers any more."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        super().__init__(exporter)
        self.ended = asyncio.Event()

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)
        self.ended.set()


class Scene(NamedTuple):
    """A gateway before a fake server, and a caller."""

    url: str
    upstream: Upstream
    http: aiohttp.ClientSession
    exporter: InMemorySpanExporter
    ends: _SpanEnds
    upstream_port: int

    def call(self, path: str = COMPLETIONS, key: str = KEY, **body: object) -> aiohttp.client._RequestContextManager:
        headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "request-1", "traceparent": f"00-{TRACE}-{PARENT}-00"}
        return self.http.post(self.url + path, json={"model": "tiny", "prompt": PROMPT, **body}, headers=headers)

    async def span(self) -> ReadableSpan:
        """The only span."""
        await self.ends.ended.wait()
        (span,) = self.exporter.get_finished_spans()
        return span


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    return dict(span.attributes or {})


async def serve(application: web.Application, port: int = 0) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    upstream = Upstream()
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_ON)
    ends = _SpanEnds(exporter)
    provider.add_span_processor(ends)
    directory = Directory({KEY: Key("acme", "acme-web")}, {"acme": Limit(0.001, 2)})
    server, url = await serve(upstream.application())
    gateway = Gateway([Address("vllm-0", url)], directory, DEADLINE_SECONDS, provider.get_tracer("test"))
    door, gateway_url = await serve(gateway.application())
    async with aiohttp.ClientSession() as http:
        yield Scene(gateway_url, upstream, http, exporter, ends, int(url.rpartition(":")[2]))
    await door.cleanup()
    await server.cleanup()
    provider.shutdown()
    for span in exporter.get_finished_spans():
        assert PROMPT not in span.to_json()
        assert ANSWER not in span.to_json()


async def test_plain_call_is_passed_through_and_fully_described(scene: Scene) -> None:
    async with scene.call(n=2, max_tokens=7) as response:
        assert 200 == response.status
        assert [ANSWER, ANSWER] == [choice["text"] for choice in (await response.json())["choices"]]
    span = await scene.span()
    assert {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "tiny",
        "gen_ai.request.stream": False,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.choice.count": 2,
        "gen_ai.response.model": "tiny",
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.finish_reasons": ("stop", "stop"),
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 256,
        "http.response.status_code": 200,
        "tenant.id": "acme",
        "llm_slo.api_key.hash": hashlib.sha256(KEY.encode()).hexdigest()[:16],
        "llm_slo.api_key.alias": "acme-web",
        "llm_slo.request.id": "request-1",
        "llm_slo.replica": "vllm-0",
        "server.address": "127.0.0.1",
        "server.port": scene.upstream_port,
    } == attributes(span)
    assert SpanKind.SERVER is span.kind
    assert StatusCode.UNSET is span.status.status_code


async def test_span_joins_the_callers_trace_and_the_server_joins_the_span(scene: Scene) -> None:
    async with scene.call():
        pass
    span = await scene.span()
    assert span.context is not None
    assert span.parent is not None
    assert int(TRACE, 16) == span.context.trace_id
    assert int(PARENT, 16) == span.parent.span_id
    headers, _ = scene.upstream.seen[0]
    # Sampled for the engine too, although the caller's trace is not.
    assert f"00-{TRACE}-{span.context.span_id:016x}-01" == headers["traceparent"]
    assert "request-1" == headers["X-Request-Id"]


async def test_stream_without_asking_for_usage_has_it_in_the_span_only(scene: Scene) -> None:
    async with scene.call(CHAT, stream=True) as response:
        text = await response.text()
    assert '"usage"' not in text
    assert text.endswith("data: [DONE]\n\n")
    _, body = scene.upstream.seen[0]
    assert {"include_usage": True} == body["stream_options"]
    found = attributes(await scene.span())
    assert (300, 256, 2) == (
        found["gen_ai.usage.input_tokens"],
        found["gen_ai.usage.cache_read.input_tokens"],
        found["gen_ai.usage.output_tokens"],
    )
    assert ("length",) == found["gen_ai.response.finish_reasons"]
    assert True is found["gen_ai.request.stream"]


async def test_stream_that_asks_for_usage_gets_it(scene: Scene) -> None:
    async with scene.call(CHAT, stream=True, stream_options={"include_usage": True}) as response:
        assert '"usage"' in await response.text()


async def test_first_chunk_lies_within_the_span(scene: Scene) -> None:
    async with scene.call(CHAT, stream=True) as response:
        await response.read()
    span = await scene.span()
    assert span.start_time is not None
    assert span.end_time is not None
    ttft = attributes(span)["gen_ai.response.time_to_first_chunk"]
    assert isinstance(ttft, float)
    assert 0 < ttft < (span.end_time - span.start_time) / 1e9


async def test_unknown_key_is_401(scene: Scene) -> None:
    async with scene.call(key="sk-nobody") as response:
        assert 401 == response.status
    found = attributes(await scene.span())
    assert (401, "invalid_api_key") == (found["http.response.status_code"], found["error.type"])
    assert "tenant.id" not in found
    assert [] == scene.upstream.seen


async def test_call_above_the_tenants_limit_is_429(scene: Scene) -> None:
    for expected in (200, 200, 429):
        async with scene.call() as response:
            assert expected == response.status
    spans = scene.exporter.get_finished_spans()
    assert [None, None, "rate_limit_exceeded"] == [attributes(span).get("error.type") for span in spans]
    assert "acme" == attributes(spans[-1])["tenant.id"]
    assert 2 == len(scene.upstream.seen)


async def test_refusal_of_the_server_is_passed_on_and_its_text_is_not_kept(scene: Scene) -> None:
    async with scene.call(model="400") as response:
        assert 400 == response.status
        assert PROMPT in await response.text()
    span = await scene.span()
    assert "400" == attributes(span)["error.type"]
    assert (StatusCode.UNSET, None) == (span.status.status_code, span.status.description)


async def test_body_that_is_no_json_is_the_servers_to_refuse(scene: Scene) -> None:
    async with scene.http.post(scene.url + CHAT, data=b"{", headers={"Authorization": f"Bearer {KEY}"}) as response:
        assert 400 == response.status
    assert "400" == attributes(await scene.span())["error.type"]


async def test_deadline_is_504_and_ends_the_call_to_the_server(scene: Scene) -> None:
    async with scene.call(model="hang") as response:
        assert 504 == response.status
    await asyncio.wait_for(scene.upstream.aborted.wait(), 5)
    span = await scene.span()
    assert (504, "timeout") == (attributes(span)["http.response.status_code"], attributes(span)["error.type"])
    assert StatusCode.ERROR is span.status.status_code


async def test_deadline_in_a_stream_that_began_is_an_event(scene: Scene) -> None:
    async with scene.call(CHAT, stream=True, model="hang-midway") as response:
        assert 200 == response.status
        *_, error, done, _ = (await response.text()).split("\n\n")
    assert "timeout" == json.loads(error.removeprefix("data: "))["error"]["type"]
    assert "data: [DONE]" == done
    span = await scene.span()
    assert (200, "timeout") == (attributes(span)["http.response.status_code"], attributes(span)["error.type"])
    assert "gen_ai.response.time_to_first_chunk" in attributes(span)


@pytest.mark.parametrize("stream", [False, True])
async def test_server_that_breaks_the_connection_is_502(scene: Scene, stream: bool) -> None:
    async with scene.call(CHAT, model="reset", stream=stream) as response:
        assert 502 == response.status
    span = await scene.span()
    assert "upstream_unavailable" == attributes(span)["error.type"]
    assert StatusCode.ERROR is span.status.status_code


async def test_connection_that_breaks_in_a_stream_is_an_event(scene: Scene) -> None:
    async with scene.call(CHAT, stream=True, model="reset-midway") as response:
        text = await response.text()
    assert '"upstream_unavailable"' in text
    assert (200, "upstream_unavailable") == (
        attributes(await scene.span())["http.response.status_code"],
        attributes(await scene.span())["error.type"],
    )


async def test_error_event_under_status_200_fails_the_call_with_its_text(scene: Scene) -> None:
    async with scene.call(CHAT, stream=True, model="dies-midway") as response:
        assert 200 == response.status
        assert "EngineCore" in await response.text()
    span = await scene.span()
    assert "500" == attributes(span)["error.type"]
    assert (StatusCode.ERROR, "EngineCore encountered an issue") == (span.status.status_code, span.status.description)


async def test_caller_who_leaves_before_an_answer_is_told_apart_and_frees_the_server(scene: Scene) -> None:
    async def call() -> None:
        async with scene.call(model="hang") as response:
            await response.read()

    caller = asyncio.create_task(call())
    await scene.upstream.hanging.wait()
    caller.cancel()
    await asyncio.wait_for(scene.upstream.aborted.wait(), 5)
    found = attributes(await scene.span())
    assert "client_disconnected" == found["error.type"]
    assert "http.response.status_code" not in found


async def test_caller_who_leaves_a_stream_is_told_apart_and_frees_the_server(scene: Scene) -> None:
    async with scene.call(CHAT, stream=True, model="hang-midway") as response:
        await response.content.readany()
        response.close()
    await asyncio.wait_for(scene.upstream.aborted.wait(), 5)
    found = attributes(await scene.span())
    assert ("client_disconnected", 200) == (found["error.type"], found["http.response.status_code"])
    assert "gen_ai.usage.output_tokens" not in found


async def test_server_that_is_not_there_is_502() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    nobody = Address("vllm-0", f"http://127.0.0.1:{free_port()}")
    directory = Directory({KEY: Key("acme", "acme-web")}, {"acme": Limit(1, 1)})
    door, url = await serve(Gateway([nobody], directory, 5, provider.get_tracer("test")).application())
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as http, http.post(url + CHAT, json={"model": "tiny"}, headers=headers) as response:
        assert 502 == response.status
    await door.cleanup()
    (span,) = exporter.get_finished_spans()
    assert "upstream_unavailable" == attributes(span)["error.type"]
