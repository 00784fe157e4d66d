"""Replay: what the spool holds goes to Postgres beside live traffic, and never faster than that can bear."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import perf_counter
from typing import NamedTuple

import structlog

from collector import telemetry
from collector.errors import StoreUnavailable, Unstorable
from collector.fragment import Fragment
from collector.request import Request
from collector.spool.journal import Reason, Taken
from collector.spool.threaded_shelf import ThreadedShelf

PAUSE_SHARE = 1.0
"""A batch is followed by a pause of this many times its own duration: replay never has more than half of one connection, and
a database that is slow under live traffic slows it down."""
LARGEST_RATE = 10_000.0
"""Requests per second."""
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 5.0
"""How long Postgres may be back before the next attempt finds it: until then live requests go into the spool."""
LOOK_SECONDS = 60.0
"""How often an idle worker looks for what dead ones left."""

log = structlog.get_logger()


class Batch(NamedTuple):
    """Requests, or fragments, of one transaction, and when they were received: to a second, since small bodies are put
    together."""

    received_at: datetime
    requests: tuple[Request, ...]
    fragments: tuple[Fragment, ...] = ()

    @property
    def size(self) -> int:
        """Requests and fragments in it."""
        return len(self.requests) + len(self.fragments)

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches that are this one."""
        requests, fragments = len(self.requests) // 2, len(self.fragments) // 2
        return (
            self._replace(requests=self.requests[:requests], fragments=self.fragments[:fragments]),
            self._replace(requests=self.requests[requests:], fragments=self.fragments[fragments:]),
        )


Deliver = Callable[[Batch], Awaitable[None]]
"""Commits a batch, and counts its rows and duplicates after the last wait, so that the ledger holds at every scrape.

Raises StoreUnavailable to be called again later, and Unstorable where the database does not take something in the batch."""


def pause_seconds(took: float, spans: int) -> float:
    """How long to leave the database to live traffic after ``spans`` requests that took ``took`` seconds."""
    return max(took * PAUSE_SHARE, spans / LARGEST_RATE - took)


class Replay:
    """Delivers what a shelf holds, at least once, the oldest first. ``more`` is set when something was added."""

    def __init__(self, shelf: ThreadedShelf, more: asyncio.Event, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._shelf = shelf
        self._more = more
        self._sleep = sleep
        self._taken: Taken | None = None
        self._parts: deque[Batch] = deque()
        self._backoff = FIRST_BACKOFF_SECONDS
        self.store_away = True
        """Whether Postgres was away when it was last needed; true until replay begins."""

    async def run(self, deliver: Deliver) -> None:
        """Replay for ever."""
        self.store_away = False
        while True:
            try:
                await self._round(deliver)
                if self._backoff > FIRST_BACKOFF_SECONDS:
                    log.info("replay goes on")
                self._backoff = FIRST_BACKOFF_SECONDS
            except StoreUnavailable as unavailable:
                self.store_away = True
                if self._backoff == FIRST_BACKOFF_SECONDS:
                    log.warning("the spool waits for Postgres", reason=str(unavailable))
                await self._back_off()
            except Exception as error:
                telemetry.LOOP_ERRORS.labels("spool").inc()
                log.exception("replay failed", error=type(error).__name__)
                await self._back_off()

    async def _round(self, deliver: Deliver) -> None:
        """Deliver one batch, or wait until there is one."""
        await self._shelf.refresh()
        if self._taken is None:
            self._more.clear()
            self._taken = await self._shelf.take()
            if self._taken is None:
                self.store_away = False
                await self._idle()
                return
            # Apart: one that is never both can be halved until what is to blame for a failure stands alone.
            if self._taken.requests:
                self._parts.append(Batch(self._taken.received_at, self._taken.requests))
            if self._taken.fragments:
                self._parts.append(Batch(self._taken.received_at, (), self._taken.fragments))
        spans, took = len(self._taken.requests) + len(self._taken.fragments), 0.0
        while self._parts:
            start = perf_counter()
            await self._hand_over(deliver)
            took += perf_counter() - start
        await self._shelf.advance(self._taken)
        self._taken = None
        await self._sleep(pause_seconds(took, spans))

    async def _hand_over(self, deliver: Deliver) -> None:
        """Deliver the next part. One that cannot be stored is halved until what is to blame for it stands alone."""
        part = self._parts[0]
        try:
            await deliver(part)
        except Unstorable:
            self.store_away = False
            if part.size > 1:
                first, self._parts[0] = part.halves()
                self._parts.appendleft(first)
            else:
                await self._shelf.set_aside(Reason.UNSTORABLE, len(part.requests), len(part.fragments))
                self._parts.popleft()
            return
        self._shelf.delivered(len(part.requests), len(part.fragments))
        self._parts.popleft()
        self.store_away = False

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._more.wait()
        except TimeoutError:
            await self._shelf.adopt()

    async def _back_off(self) -> None:
        await self._sleep(self._backoff)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
