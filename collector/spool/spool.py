"""The spool as the collector uses it: append while Postgres is away, replay when it is back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from collector.errors import Overloaded
from collector.fragment import Fragment
from collector.request import Request
from collector.spool.journal import SEGMENT_BYTES
from collector.spool.replay import Deliver, Replay
from collector.spool.shelf import Shelf
from collector.spool.threaded_shelf import ThreadedShelf

LARGEST_FLUSH = 8192
"""Requests that share one fsync, unless one body alone has more."""
RETRY_AFTER_SECONDS = 1

log = structlog.get_logger()


class _Waiting(NamedTuple):
    requests: Sequence[Request]
    fragments: Sequence[Fragment]
    received_at: datetime
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        return len(self.requests) + len(self.fragments)


class Spool:
    """The spool of one worker: a directory of its own below ``root``, and those that dead workers left there.

    ``largest_bytes`` and ``longest_age`` are limits above which nothing more is taken; nothing is dropped for them.
    ``largest_pending`` bounds the requests that wait for the disk, and with them the memory.
    """

    def __init__(
        self,
        root: Path,
        *,
        largest_bytes: int,
        longest_age: timedelta,
        largest_pending: int,
        now: Callable[[], datetime],
        segment_bytes: int = SEGMENT_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shelf = ThreadedShelf(lambda: Shelf(root, largest_bytes, longest_age, segment_bytes), now)
        self._largest_pending = largest_pending
        self._waiting: deque[_Waiting] = deque()
        self._pending = 0
        self._flushing: asyncio.Task[None] | None = None
        self._more = asyncio.Event()
        self._replay = Replay(self._shelf, self._more, sleep)
        self._refusal: str | None = None

    async def __aenter__(self) -> Self:
        """Lock a directory and find what is there.

        :raises OSError: when the directory cannot be used
        """
        await self._shelf.open()
        return self

    async def __aexit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._flushing is not None:
            await self._flushing
        await self._shelf.close()

    @property
    def store_away(self) -> bool:
        """Whether to append without asking Postgres first: it was away when it was last needed, and replay tries it again."""
        return self._replay.store_away

    async def append(self, requests: Sequence[Request], received_at: datetime, fragments: Sequence[Fragment] = ()) -> None:
        """Return once all is on disk: what one body came to, of which Postgres has committed nothing.

        Bodies that wait while an fsync is under way share the next one.

        :raises Overloaded: when the spool is full, too old, or cannot be written; nothing was taken then
        """
        self._replay.store_away = True
        waiting = _Waiting(requests, fragments, received_at, asyncio.get_running_loop().create_future())
        if not waiting.size:
            return
        if self._pending and self._pending + waiting.size > self._largest_pending:
            raise Overloaded(f"{self._pending} spans wait to be spooled", RETRY_AFTER_SECONDS)
        self._pending += waiting.size
        self._waiting.append(waiting)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await waiting.done

    async def replay(self, deliver: Deliver) -> None:
        """Deliver for ever what is in the spool, the oldest first. Begins when Postgres is first there; one at a time."""
        await self._replay.run(deliver)

    async def adopt(self) -> None:
        """Take over what dead workers left. Replay does it too, when it has nothing else to do."""
        await self._shelf.adopt()
        self._more.set()

    async def _flush(self) -> None:
        """Write until nothing waits."""
        try:
            while self._waiting:
                await self._write(self._take())
        finally:
            self._flushing = None

    def _take(self) -> list[_Waiting]:
        """The bodies of the next fsync."""
        taken = [self._waiting.popleft()]
        size = taken[0].size
        while self._waiting and size + self._waiting[0].size <= LARGEST_FLUSH:
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        return taken

    async def _write(self, bodies: Sequence[_Waiting]) -> None:
        requests = [request for body in bodies for request in body.requests]
        fragments = [fragment for body in bodies for fragment in body.fragments]
        error: Exception | None = None
        try:
            await self._shelf.append(requests, bodies[0].received_at, fragments)
        except Exception as failure:
            # Whatever it is, every sender has to be answered: they keep what they have.
            error = failure
        self._report(error)
        for body in bodies:
            self._pending -= body.size
            if body.done.done():
                continue  # the sender has gone; what was written stays written
            if error is None:
                body.done.set_result(None)
            else:
                body.done.set_exception(error)
        # Also where nothing was written: replay alone can tell that Postgres is back.
        self._more.set()

    def _report(self, error: Exception | None) -> None:
        """Say when the spool begins and ceases to refuse, not each time."""
        refusal = None if error is None else type(error).__name__
        if refusal != self._refusal:
            if error is None:
                log.info("the spool takes requests again")
            else:
                log.error("the spool takes nothing", reason=str(error))
        self._refusal = refusal
