"""The loop's side of a shelf: one thread does everything that blocks, and what was done is counted here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import perf_counter
from typing import TypeVar

from collector import telemetry
from collector.fragment import Fragment
from collector.request import Request
from collector.spool.journal import Reason, Taken
from collector.spool.shelf import Level, Shelf

Result = TypeVar("Result")


class ThreadedShelf:
    """A shelf that does not block the loop. Methods raise what those of `Shelf` raise."""

    def __init__(self, make: Callable[[], Shelf], now: Callable[[], datetime]) -> None:
        self._make = make
        self._now = now
        # One thread: the shelf needs no locks, and an append never waits for more than one batch's reading.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._shelf: Shelf | None = None

    async def open(self) -> None:
        """Lock a directory, and count what is found."""
        shelf = await self._run(self._make)
        self._shelf = shelf
        found = await self._run(lambda: shelf.level.spans)
        _adopted(found)
        await self.adopt()

    async def close(self) -> None:
        """Let go of everything, after what is under way."""
        shelf, self._shelf = self._shelf, None
        if shelf is not None:
            await self._run(shelf.close)
        self._thread.shutdown(wait=False)

    async def adopt(self) -> None:
        """Take over what dead workers left."""
        _adopted(await self._run(self._open_shelf.adopt))
        await self.refresh()

    async def append(self, requests: Sequence[Request], received_at: datetime, fragments: Sequence[Fragment] = ()) -> None:
        """Return once the requests and fragments are on disk, and the requests counted."""
        shelf = self._open_shelf
        start = perf_counter()

        def work() -> Level:
            shelf.append(requests, received_at, fragments)
            return shelf.level

        level = await self._run(work)
        telemetry.SPOOL_APPEND_SECONDS.observe(perf_counter() - start)
        telemetry.SPOOL_APPENDED.inc(len(requests) + len(fragments))
        telemetry.SPANS_RECEIVED.inc(len(requests))
        telemetry.SPANS_PENDING.inc(len(requests))
        self._show(level)

    async def take(self) -> Taken | None:
        """What is to be replayed next."""
        taken = await self._run(self._open_shelf.take)
        for reason, spans, fragments in taken.set_aside if taken else ():
            _rejected(reason, spans)
            _rejected_fragments(reason, fragments)
        return taken

    def delivered(self, spans: int, fragments: int) -> None:
        """Requests are rows, or were already. Without a wait since that was counted, or the ledger would not hold between."""
        telemetry.SPANS_PENDING.dec(spans)
        telemetry.SPOOL_REPLAYED.inc(spans + fragments)

    async def advance(self, taken: Taken) -> None:
        """Be done with what was taken."""
        shelf = self._open_shelf
        _rejected(Reason.CORRUPT, await self._run(lambda: shelf.advance(taken)))
        await self.refresh()

    async def set_aside(self, reason: Reason, spans: int, fragments: int) -> None:
        """Keep the segment of what was taken, and give up so many requests and fragments of it."""
        shelf = self._open_shelf
        await self._run(lambda: shelf.set_aside(reason, spans + fragments))
        _rejected(reason, spans)
        _rejected_fragments(reason, fragments)

    async def refresh(self) -> None:
        """Show what is on the shelf."""
        shelf = self._open_shelf
        self._show(await self._run(lambda: shelf.level))

    def _show(self, level: Level) -> None:
        age = (self._now() - level.oldest_at).total_seconds() if level.oldest_at else 0.0
        telemetry.SPOOL_BYTES.set(level.size)
        telemetry.SPOOL_OLDEST_SECONDS.set(age)

    @property
    def _open_shelf(self) -> Shelf:
        assert self._shelf is not None
        return self._shelf

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _adopted(spans: int) -> None:
    telemetry.SPOOL_ADOPTED.inc(spans)
    telemetry.SPANS_RECEIVED.inc(spans)
    telemetry.SPANS_PENDING.inc(spans)


def _rejected(reason: Reason, spans: int) -> None:
    if spans:
        telemetry.SPANS_REJECTED.labels(f"spool_{reason}").inc(spans)
        telemetry.SPANS_PENDING.dec(spans)


def _rejected_fragments(reason: Reason, fragments: int) -> None:
    """Fragments are counted only when it is known what they become, which is now."""
    if fragments:
        telemetry.SPANS_RECEIVED.inc(fragments)
        telemetry.SPANS_REJECTED.labels(f"spool_{reason}").inc(fragments)
