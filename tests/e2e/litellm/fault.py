"""Stands between a gateway and vLLM: passes calls on, or breaks them in the way that a marker in the prompt asks for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp
from aiohttp import web

HOSTED_USAGE = {"prompt_tokens": 41, "completion_tokens": 3, "total_tokens": 44}
HOSTED_MODEL = "gpt-4o-mini-2024-07-18"
FIRST_TOKEN_SECONDS = 0.7
"""How late the first token of ``late`` is."""
HANG_SECONDS = 4.0
"""Longer than any gateway of the tests waits."""
DRIP_SECONDS = 0.15
"""Between two pieces of ``drip``."""
EVENTS_BEFORE_BREAK = 3

OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.34 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.02 GiB is free. "
    "Including non-PyTorch memory, this process has 78.08 GiB memory in use. Of the allocated memory 74.91 GiB is allocated by "
    "PyTorch, and 1.44 GiB is reserved by PyTorch but unallocated."
)
REFUSALS: Mapping[str, tuple[int, str, str]] = {
    "oom": (500, "InternalServerError", OUT_OF_MEMORY),
    "rate-limit": (429, "RateLimitError", "Rate limit reached for tiny: 60 requests per minute"),
    "busy": (503, "ServiceUnavailableError", "The server is overloaded: too many requests are waiting"),
}
_MARKER = re.compile(r"\[fault:([a-z-]+)\]")


def marker(fault: str) -> str:
    """What a prompt has to hold for the fault to happen."""
    return f"[fault:{fault}]"


class FaultProxy:
    """``upstream`` is the base URL of an OpenAI-compatible server, without ``/v1``."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None
        self._broken_once = False

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on loopback. Yields the base URL; below ``/hosted`` is what stands for a hosted provider."""
        application = web.Application()
        application.router.add_post("/v1/{rest:.*}", self._answer)
        application.router.add_post("/hosted/v1/{rest:.*}", _hosted)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as self._session:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            try:
                host, port = runner.addresses[0][:2]
                yield f"http://{host}:{port}"
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        with suppress(ConnectionResetError):  # whoever left
            return await self._respond(request, body)
        return web.Response()

    async def _respond(self, request: web.Request, body: bytes) -> web.StreamResponse:
        found = _MARKER.search(body.decode(errors="replace"))
        fault = None if found is None else str(found[1])
        if fault is not None and fault in REFUSALS:
            return _refusal(fault)
        if fault == "once":
            self._broken_once = not self._broken_once
            if self._broken_once:
                return _refusal("oom")
        if fault == "hang":
            await asyncio.sleep(HANG_SECONDS)
        return await self._forward(request, body, fault)

    async def _forward(self, request: web.Request, body: bytes, fault: str | None) -> web.StreamResponse:
        assert self._session is not None
        kept = {name: value for name, value in request.headers.items() if name.lower() in ("content-type", "traceparent")}
        async with self._session.post(self._upstream + request.path, data=body, headers=kept) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            await response.prepare(request)
            number = 0
            async for line in answer.content:
                if line.strip():
                    number += 1
                    await _pause(fault, number)
                if number > EVENTS_BEFORE_BREAK and fault in ("reset", "oom-midway"):
                    return await _break(request, response, fault)
                await response.write(line)
            return response


async def _pause(fault: str | None, number: int) -> None:
    if fault == "late" and number == 1:
        await asyncio.sleep(FIRST_TOKEN_SECONDS)
    if fault == "drip":
        await asyncio.sleep(DRIP_SECONDS)


async def _break(request: web.Request, response: web.StreamResponse, fault: str) -> web.StreamResponse:
    if fault == "reset":
        assert request.transport is not None
        request.transport.abort()
        return response
    error = {"error": {"message": OUT_OF_MEMORY, "type": "InternalServerError", "param": None, "code": 500}}
    await response.write(_event(error) + b"data: [DONE]\n\n")
    return response


def _refusal(fault: str) -> web.Response:
    status, type, message = REFUSALS[fault]
    return web.json_response({"error": {"message": message, "type": type, "param": None, "code": status}}, status=status)


async def _hosted(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    head = {"id": "chatcmpl-hosted", "created": 1_700_000_000, "model": HOSTED_MODEL}
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "from elsewhere"}, "finish_reason": "stop"}
        return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": HOSTED_USAGE})
    head["object"] = "chat.completion.chunk"
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for delta, finish in (({"role": "assistant", "content": "from "}, None), ({"content": "elsewhere"}, None), ({}, "stop")):
        await response.write(_event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    await response.write(_event({**head, "choices": [], "usage": HOSTED_USAGE}) + b"data: [DONE]\n\n")
    return response


def _event(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"
