"""A small OpenAI-compatible server that answers, refuses, hangs or breaks as the model's name asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from aiohttp import web

PROMPT = "the-secret-prompt"
ANSWER = "the-secret-answer"
USAGE = {"prompt_tokens": 300, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 256}}
DEAD = {"error": {"message": "EngineCore encountered an issue", "type": "InternalServerError", "code": 500}}


class Upstream:
    """``seen`` holds headers and body of every request, ``aborted`` is set once a caller gave up on a hanging one."""

    def __init__(self) -> None:
        self.seen: list[tuple[Mapping[str, str], dict[str, object]]] = []
        self.hanging = asyncio.Event()
        self.aborted = asyncio.Event()

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/v1/{rest:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            return web.json_response({"error": {"message": "no JSON", "code": 400}}, status=400)
        self.seen.append((request.headers.copy(), body))
        case = body["model"]
        if case == "hang":
            await self._hang()
        if case == "reset":
            assert request.transport is not None
            request.transport.abort()
        if case.isdecimal():
            return web.json_response({"error": {"message": f"{PROMPT} is bad", "code": int(case)}}, status=int(case))
        if body.get("stream"):
            return await self._stream(request, case)
        choices = [{"index": index, "text": ANSWER, "finish_reason": "stop"} for index in range(body.get("n", 1))]
        return web.json_response({"id": "cmpl-1", "model": "tiny", "choices": choices, "usage": USAGE})

    async def _stream(self, request: web.Request, case: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in chunks()[:2]:
            await response.write(sse(event))
        if case == "hang-midway":
            await self._hang()
        if case == "reset-midway":
            assert request.transport is not None
            request.transport.abort()
            return response
        for event in (DEAD,) if case == "dies-midway" else chunks()[2:]:
            await response.write(sse(event))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _hang(self) -> None:
        self.hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.aborted.set()


def chunks() -> Sequence[Mapping[str, object]]:
    """The events of a whole stream."""
    head = {"id": "chatcmpl-1", "model": "tiny"}
    return [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {"content": ANSWER}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "length"}]},
        {**head, "choices": [], "usage": USAGE},
    ]


def sse(content: Mapping[str, object]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"
