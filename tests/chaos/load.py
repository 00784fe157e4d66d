"""Load: senders that keep each body until it is acknowledged, as exporters do, and remember what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import aiohttp
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.collector.otlp_body import body, chat_span
from tests.process import send_until_acknowledged

SENDERS = 4
CALLS = 20
"""Spans of a body that become rows."""
AGAIN = 0.2
"""Share of bodies that are sent once more although they were acknowledged: an answer was lost."""
PAUSE_SECONDS = 0.05
BURNING = "burning"
"""A model of which every request of the plant fails."""
_PLANTED = 60
_PLANT_SECONDS = 120
_FIRST_PLANTED = 1_000_000
"""The number of the first planted span; those of load stay below."""


class Load:
    """``calls`` are the numbers of the spans that were acknowledged and must be rows; ``spans`` counts every acknowledgement
    of every span."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], random: Random) -> None:
        self._session = session
        self._urls = urls
        self._random = random
        self._next = 0
        self._next_planted = _FIRST_PLANTED
        self._enough = asyncio.Event()
        self.calls: set[int] = set()
        self.spans = 0
        self.bodies = 0

    def enough(self) -> None:
        """Begin no body any more; those that are under way are sent to the end."""
        self._enough.set()

    async def send(self) -> None:
        """One sender."""
        kept: list[bytes] = []
        while not self._enough.is_set():
            first, self._next = self._next, self._next + CALLS
            numbers = range(first, first + CALLS)
            data = body(_spans(numbers, datetime.now(UTC)))
            await self.acknowledge(data, CALLS + 3)
            self.calls.update(numbers)
            if self._random.random() < AGAIN:
                kept.append(data)
            if kept and self._random.random() < AGAIN:
                # Later than others that were made later.
                await self.acknowledge(kept.pop(self._random.randrange(len(kept))), CALLS + 3)
            await asyncio.sleep(PAUSE_SECONDS)
        for data in kept:
            await self.acknowledge(data, CALLS + 3)

    async def acknowledge(self, data: bytes, spans: int) -> None:
        """Send one body until it is taken."""
        await send_until_acknowledged(self._session, self._random.choice(self._urls), data)
        self.spans += spans
        self.bodies += 1

    async def plant(self) -> None:
        """Requests of one model that fail, over two minutes up to now: what must page, once they are rows."""
        now = datetime.now(UTC)
        first, self._next_planted = self._next_planted, self._next_planted + _PLANTED
        numbers = range(first, first + _PLANTED)
        at = [now - timedelta(seconds=_PLANT_SECONDS * (1 - part / _PLANTED)) for part in range(_PLANTED)]
        failed = [
            chat_span(number, ended_at, gen_ai__request__model=BURNING, error__type="500")
            for number, ended_at in zip(numbers, at, strict=True)
        ]
        await self.acknowledge(body(failed), _PLANTED)
        self.calls.update(numbers)


def _spans(numbers: Sequence[int], now: datetime) -> list[Span]:
    """Calls, of which the first is wrapped in a span that is merged into it; a span that is no call; and a malformed one."""
    first = numbers[0]
    calls = [chat_span(number, now - timedelta(milliseconds=number - first)) for number in numbers]
    wrapper = chat_span(first, now)
    wrapper.span_id = b"wrapping"
    calls[0].parent_span_id = wrapper.span_id
    ignored = chat_span(first, now, gen_ai__operation__name="execute_tool")
    ignored.span_id = b"ignored."
    rejected = chat_span(first, now, gen_ai__usage__input_tokens=-5)
    rejected.span_id = b"rejected"
    rejected.status.code = Status.STATUS_CODE_OK
    return [*calls, wrapper, ignored, rejected]


@asynccontextmanager
async def load(session: aiohttp.ClientSession, urls: Sequence[str], random: Random) -> AsyncIterator[Load]:
    """Load while the block lasts. When it has ended well, everything that was begun is acknowledged."""
    one = Load(session, urls, random)
    senders = [asyncio.create_task(one.send()) for _ in range(SENDERS)]
    try:
        yield one
        one.enough()
        async with asyncio.timeout(120):
            await asyncio.gather(*senders)
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
