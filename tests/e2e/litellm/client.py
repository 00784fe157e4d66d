"""Makes every call of the cases, one after the other, and prints what it saw: ``python -m tests.e2e.litellm.client URL``.

A process of its own, as clients are: what the tests do meanwhile must not be in what it measures.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from typing import NamedTuple

import aiohttp

from demo.answer import Answer, Event, split_events
from tests.e2e.litellm.case import CASES, WARM_UP, WHOLE_ANSWER_SECONDS, Case


class Seen(NamedTuple):
    """What the client saw of one call. Times in seconds; ``trace_id`` is that of its traceparent, lower-case hex."""

    case: str
    call_id: str | None
    """LiteLLM's own id, of the answer's header."""
    trace_id: str | None
    status: int | None
    error: str | None
    """Code of an error event, or ``left`` or ``disconnected``."""
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    ttft_seconds: float | None
    latency_seconds: float
    started: float
    """Since the epoch."""


class Record:
    """A call as it goes on."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.trace_id = secrets.token_hex(16) if case.traced else None
        self.call_id: str | None = None
        self.status: int | None = None
        self.error: str | None = None
        self.answer = Answer()
        self.ttft_seconds: float | None = None
        self.started = time.time()
        self._begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since it was sent."""
        return time.monotonic() - self._begun

    def seen(self) -> Seen:
        """What is known at its end."""
        failure = self.answer.failure
        return Seen(
            case=self.case.name,
            call_id=self.call_id,
            trace_id=self.trace_id,
            status=self.status,
            error=self.error or (None if failure is None else str(failure.code or "unknown")),
            input_tokens=self.answer.input_tokens,
            cached_tokens=self.answer.cached_tokens,
            output_tokens=self.answer.output_tokens,
            ttft_seconds=self.ttft_seconds,
            latency_seconds=self.elapsed,
            started=self.started,
        )


async def call(session: aiohttp.ClientSession, url: str, case: Case) -> Seen:
    """Make one call. Whatever goes wrong is in what is returned."""
    record = Record(case)
    headers = {"Authorization": f"Bearer {case.key}"}
    if record.trace_id is not None:
        headers["traceparent"] = f"00-{record.trace_id}-{secrets.token_hex(8)}-{int(case.sampled):02}"
    try:
        async with session.post(url + case.path, json=case.body, headers=headers) as response:
            record.status, record.call_id = response.status, response.headers.get("x-litellm-call-id")
            await _read(response, record)
    except TimeoutError:
        record.error = "left"
    except aiohttp.ClientError:
        record.error = "disconnected"
    return record.seen()


async def _read(response: aiohttp.ClientResponse, record: Record) -> None:
    if response.content_type != "text/event-stream":
        record.answer.read_body(await response.read())
        return
    rest = b""
    async with asyncio.timeout(None) as patience:
        async for chunk in response.content.iter_any():
            now = record.elapsed
            events, rest = split_events(rest + chunk)
            for event in events:
                if record.answer.read_event(event) is not Event.CHUNK or record.ttft_seconds is not None:
                    continue
                record.ttft_seconds = now
                if record.case.leaves_after_seconds is not None:
                    patience.reschedule(asyncio.get_running_loop().time() + record.case.leaves_after_seconds)


async def main(url: str) -> None:
    """Make the calls and print a JSON line for each."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WHOLE_ANSWER_SECONDS)) as session:
        for case in (*WARM_UP, *CASES):
            print(json.dumps((await call(session, url, case))._asdict()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
