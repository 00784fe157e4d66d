"""The caller's side of one call: its body in, the answer out, with every byte seen on its way by the Call."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from aiohttp import web

from demo.answer import Answer, Event, Failure, split_events
from demo.call import Call

_SERVER_ERROR = 500


class Refusal(NamedTuple):
    """An answer of the gateway's own."""

    status: int
    error_type: str
    message: str
    is_fault: bool = False
    """Whether the serving side is to blame, so that the span is an error."""


class CallerGone(Exception):
    """The caller's connection broke."""


class Exchange:
    """Reads the request and writes the answer. ``complete`` once the caller was sent all of it."""

    def __init__(self, request: web.Request, call: Call) -> None:
        self.request = request
        self.call = call
        self.complete = False
        self.response: web.StreamResponse | None = None
        self._is_stream = False

    async def read_body(self) -> bytes | None:
        """The request's body; None when it is too large."""
        try:
            return await self.request.read()
        except web.HTTPRequestEntityTooLarge:
            return None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise CallerGone from error

    async def pass_body(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass a whole answer on, whatever its status."""
        body = await upstream.read()
        self.call.answer.read_body(body)
        if upstream.status >= 400:
            failure = self.call.answer.failure
            self.call.fail(str(upstream.status), _cause(upstream.status, failure))
        return await self._send(upstream.status, upstream.content_type, body)

    async def pass_stream(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass server-sent events on as they come.

        The answer begins with the first event, not with the server's headers: until then a deadline can still be a 504.
        """
        self._is_stream = True
        rest = b""
        async for chunk in upstream.content.iter_any():
            events, rest = split_events(rest + chunk)
            for event in events:
                await self._pass_event(upstream.status, event)
        if self.response is None:
            return await self._send(upstream.status, "text/event-stream", b"")
        return await self._end(self.response)

    async def refuse(self, refusal: Refusal) -> web.StreamResponse:
        """Answer with an error; in a stream that has begun, with an event that says so."""
        self.call.fail(refusal.error_type, refusal.message if refusal.is_fault else None)
        error = {"message": refusal.message, "type": refusal.error_type, "code": refusal.status}
        body = json.dumps({"error": error}).encode()
        if self.response is None:
            return await self._send(refusal.status, "application/json", body)
        if self._is_stream:
            await self._write(b"data: " + body + b"\n\ndata: [DONE]\n\n")
            return await self._end(self.response)
        # Half an answer is out: a broken connection is the only way left to say that the rest will not come.
        if self.request.transport is not None:
            self.request.transport.abort()
        return self.response

    async def _pass_event(self, status: int, event: bytes) -> None:
        kind = self.call.answer.read_event(event)
        if kind is Event.USAGE and not wants_usage(self.call.parameters):
            return
        if kind is Event.ERROR:
            self._note_failure(self.call.answer)
        if self.response is None:
            await self._begin(status, "text/event-stream")
        await self._write(event + b"\n\n")
        if kind is Event.CHUNK:
            self.call.saw_first_piece(time.monotonic())
        self.complete = kind is Event.DONE

    def _note_failure(self, answer: Answer) -> None:
        code = answer.failure.code if answer.failure is not None and answer.failure.code is not None else _SERVER_ERROR
        self.call.fail(str(code), _cause(code, answer.failure))

    async def _send(self, status: int, content_type: str, body: bytes) -> web.StreamResponse:
        response = await self._begin(status, content_type, len(body))
        await self._write(body)
        self.complete = True
        return await self._end(response)

    async def _begin(self, status: int, content_type: str, length: int | None = None) -> web.StreamResponse:
        headers = {"Content-Type": content_type, "X-Request-Id": self.call.request_id}
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = length
        try:
            await response.prepare(self.request)
        except ConnectionError as error:
            raise CallerGone from error
        self.response = response
        self.call.status = status
        return response

    async def _write(self, content: bytes) -> None:
        assert self.response is not None
        try:
            await self.response.write(content)
        except ConnectionError as error:
            raise CallerGone from error

    async def _end(self, response: web.StreamResponse) -> web.StreamResponse:
        try:
            await response.write_eof()
        except ConnectionError as error:
            raise CallerGone from error
        return response


def wants_usage(parameters: Mapping[str, object]) -> bool:
    """Whether the caller of a stream asked for the counts of tokens at its end."""
    options = parameters.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def asking_for_usage(parameters: Mapping[str, object], body: bytes) -> bytes:
    """The body to pass on: that of a stream asks for usage, since the span needs it; any other is passed as it came."""
    options = parameters.get("stream_options")
    if parameters.get("stream") is not True or not isinstance(options, dict | None):
        return body
    return json.dumps({**parameters, "stream_options": {**(options or {}), "include_usage": True}}).encode()


def _cause(status: int, failure: Failure | None) -> str | None:
    """The text of a fault of the server. That of a refusal can echo the prompt, and is not kept."""
    return failure.message if failure is not None and status >= _SERVER_ERROR else None
