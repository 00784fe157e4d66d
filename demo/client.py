"""An OpenAI client that measures: one call, and what the caller saw of it."""

from __future__ import annotations

import json
import secrets
import time
from typing import NamedTuple

import aiohttp

from demo.answer import Answer, Event, split_events
from demo.workload import Ask


class Seen(NamedTuple):
    """What the client saw of one call; one JSON line of a record."""

    trace_id: str
    """Lower-case hex."""
    request_id: str
    tenant: str
    endpoint: str
    stream: bool
    n: int
    status: int | None
    """HTTP status; None when there was no answer."""
    ok: bool
    """Status 200, and for a stream: complete, with no error event."""
    error: str | None
    """HTTP status or code of an error event as text, else ``disconnected`` or ``timeout``."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    ttft_s: float | None
    """Seconds from sending until the first piece of a stream."""
    e2e_s: float
    started: float
    """Seconds since the epoch."""
    ended: float


class _Timing:
    """The clock of one call."""

    def __init__(self) -> None:
        self.started = time.time()
        self.ttft: float | None = None
        self._begun = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._begun


async def call(session: aiohttp.ClientSession, base_url: str, key: str, ask: Ask) -> Seen:
    """Make one call; whatever goes wrong is in what is returned. The ids are new each time, whatever the seed."""
    trace_id, request_id = secrets.token_hex(16), secrets.token_hex(12)
    headers = {
        "Authorization": f"Bearer {key}",
        "X-Request-Id": request_id,
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
    }
    answer, status, error = Answer(), None, None
    timing = _Timing()
    try:
        async with session.post(base_url + ask.endpoint, json=ask.body, headers=headers) as response:
            status = response.status
            if response.content_type == "text/event-stream":
                await _read_stream(response, answer, timing)
            else:
                answer.read_body(await response.read())
    except TimeoutError:
        error = "timeout"
    except aiohttp.ClientError:
        error = "disconnected"
    elapsed = timing.elapsed()
    stream = ask.body.get("stream") is True
    error = error or _error(status, stream, answer)
    return Seen(
        trace_id=trace_id,
        request_id=request_id,
        tenant=ask.tenant,
        endpoint=ask.endpoint,
        stream=stream,
        n=count if isinstance(count := ask.body.get("n", 1), int) else 1,
        status=status,
        ok=error is None,
        error=error,
        prompt_tokens=answer.input_tokens,
        completion_tokens=answer.output_tokens,
        cached_tokens=answer.cached_tokens,
        ttft_s=timing.ttft,
        e2e_s=elapsed,
        started=timing.started,
        ended=timing.started + elapsed,
    )


def to_line(seen: Seen) -> str:
    """One line of a record."""
    return json.dumps(seen._asdict()) + "\n"


async def _read_stream(response: aiohttp.ClientResponse, answer: Answer, timing: _Timing) -> None:
    rest = b""
    async for chunk in response.content.iter_any():
        now = timing.elapsed()
        events, rest = split_events(rest + chunk)
        for event in events:
            if answer.read_event(event) is Event.CHUNK and timing.ttft is None:
                timing.ttft = now


def _error(status: int | None, stream: bool, answer: Answer) -> str | None:
    if status != 200:
        return str(status)
    if answer.failure is not None:
        return str(answer.failure.code or "unknown")
    return "disconnected" if stream and not answer.done else None
