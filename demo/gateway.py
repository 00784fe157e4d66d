"""A small OpenAI-compatible gateway: keys and tenants, rate limits, a deadline, round robin, and one GenAI span per call.

It passes traceparent and X-Request-Id on, so that the engine's spans join the caller's trace. It keeps no prompts.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from demo.call import Call, end_span, parameters_of
from demo.exchange import CallerGone, Exchange, Refusal, asking_for_usage
from demo.tenant import Directory, RateLimiter, hash_key, read_directory

_OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}
_LARGEST_BODY = 8 * 1024**2
_LONGEST_ID = 128
_PROPAGATOR = TraceContextTextMapPropagator()


class Upstream(NamedTuple):
    """A server that calls are passed on to."""

    replica: str
    url: str

    @property
    def server(self) -> tuple[str, int]:
        """Host and port."""
        url = urlsplit(self.url)
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


_EXPORT_SECONDS = 300.0
"""Of an export with all its retries: a batch must outlive a time in which the collector asks to wait."""
_TIMEOUT = Refusal(504, "timeout", "the deadline of this gateway passed", True)
_UNAVAILABLE = Refusal(502, "upstream_unavailable", "the server behind this gateway refused or broke the connection", True)
_RATE_LIMIT = Refusal(429, "rate_limit_exceeded", "too many requests: this tenant's limit is reached")
_BAD_KEY = Refusal(401, "invalid_api_key", "no or an unknown API key")


class Gateway:
    """The two endpoints. ``tracer`` gets one span of kind SERVER per call."""

    def __init__(self, upstreams: Sequence[Upstream], directory: Directory, deadline_seconds: float, tracer: Tracer) -> None:
        self._next = cycle(upstreams)
        self._directory = directory
        self._limiter = RateLimiter(directory.limits)
        self._deadline_seconds = deadline_seconds
        self._tracer = tracer

    def application(self) -> web.Application:
        """For aiohttp; run it with ``handler_cancellation=True``, else callers that left go unseen."""
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.cleanup_ctx.append(self._session)
        application.router.add_get("/health", self._health)
        for path in _OPERATIONS:
            application.router.add_post(path, self._call)
        return application

    async def _session(self, application: web.Application) -> AsyncIterator[None]:
        # The deadline is the gateway's own; the connections are as many as there are callers.
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), connector=connector) as self._http:
            yield

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _call(self, request: web.Request) -> web.StreamResponse:
        request_id = request.headers.get("X-Request-Id", "")[:_LONGEST_ID] or uuid.uuid4().hex
        call = Call(_OPERATIONS[request.path], request_id, time.monotonic())
        span = self._tracer.start_span(
            call.operation, _PROPAGATOR.extract(request.headers), SpanKind.SERVER, start_time=time.time_ns()
        )
        exchange = Exchange(request, call)
        try:
            with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
                return await self._within_deadline(exchange)
        except CallerGone:
            _note_departure(exchange)
            return exchange.response or web.Response(status=499)
        except asyncio.CancelledError:
            _note_departure(exchange)
            raise
        finally:
            end_span(span, call)

    async def _within_deadline(self, exchange: Exchange) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._answer(exchange)
        except TimeoutError:
            return await exchange.refuse(_TIMEOUT)
        except aiohttp.ClientError:
            return await exchange.refuse(_UNAVAILABLE)

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        call = exchange.call
        body = await exchange.read_body()
        if body is None:
            return await exchange.refuse(Refusal(413, "413", f"a body may have {_LARGEST_BODY} bytes"))
        call.parameters = parameters_of(body)
        if not self._admit(call, exchange.request.headers.get("Authorization", "")):
            return await exchange.refuse(_BAD_KEY)
        if not self._limiter.allow(call.tenant or "", time.monotonic()):
            return await exchange.refuse(_RATE_LIMIT)
        upstream = next(self._next)
        call.replica = upstream.replica
        call.server = upstream.server
        headers = {"Content-Type": "application/json", "X-Request-Id": call.request_id}
        _PROPAGATOR.inject(headers)
        url = upstream.url + exchange.request.path
        async with self._http.post(url, data=asking_for_usage(call.parameters, body), headers=headers) as response:
            if response.content_type == "text/event-stream":
                return await exchange.pass_stream(response)
            return await exchange.pass_body(response)

    def _admit(self, call: Call, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key:
            return False
        call.key_hash = hash_key(key)
        known = self._directory.keys.get(key)
        if known is None:
            return False
        call.tenant, call.key_alias = known
        return True


def _note_departure(exchange: Exchange) -> None:
    # A caller who has the whole answer may hang up before the gateway has finished its own paperwork.
    if not exchange.complete:
        exchange.call.fail("client_disconnected")


def tracer_provider(otlp: str) -> TracerProvider:
    """Sends every span to the OTLP/HTTP receiver at ``otlp``, whatever the caller's trace says about sampling."""
    resource = Resource.create({"service.name": "llm-slo-demo-gateway"})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource)
    exporter = OTLPSpanExporter(endpoint=f"{otlp.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=16_384, schedule_delay_millis=500))
    return provider


def _upstreams(text: str) -> list[Upstream]:
    pairs = [one.partition("=") for one in text.split(",")]
    if not all(name and url for name, _, url in pairs):
        raise argparse.ArgumentTypeError(f"expected name=url[,name=url], not {text!r}")
    return [Upstream(name, url.rstrip("/")) for name, _, url in pairs]


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo.gateway", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, type=_upstreams, metavar="NAME=URL[,NAME=URL]")
    parser.add_argument("--otlp", required=True, metavar="URL", help="an OTLP/HTTP receiver, like http://127.0.0.1:4318")
    parser.add_argument("--keys", required=True, type=Path, metavar="FILE.json")
    parser.add_argument("--deadline-seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    provider = tracer_provider(arguments.otlp)
    directory = read_directory(arguments.keys)
    gateway = Gateway(arguments.upstream, directory, arguments.deadline_seconds, provider.get_tracer("demo.gateway", "1"))
    try:
        web.run_app(gateway.application(), host=host, port=int(port), print=None, access_log=None, handler_cancellation=True)
    except OSError as error:
        sys.exit(f"the gateway cannot listen on {arguments.listen}: {error.strerror}")
    finally:
        provider.shutdown()


if __name__ == "__main__":
    main()
