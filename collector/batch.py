"""Group commit: bodies that wait while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from time import perf_counter
from typing import NamedTuple

import structlog
from psycopg import Error

from collector import telemetry
from collector.errors import Overloaded, StoreUnavailable, Unstorable
from collector.fragment import Fragment
from collector.store.request import Judged, RequestStore, Written
from collector.trace import tracer

LARGEST_BATCH = 4096
"""Rows of one transaction, unless one body alone has more: about 40 ms of work, far below the transaction's limit."""
RETRY_AFTER_SECONDS = 1

log = structlog.get_logger()


class _Waiting(NamedTuple):
    requests: Sequence[Judged]
    fragments: Sequence[Fragment]
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        return len(self.requests) + len(self.fragments)


class Batcher:
    """Takes the requests of one body at a time and commits them with those of others.

    ``largest_pending`` bounds the requests that wait, and with them the memory.
    """

    def __init__(self, store: RequestStore, *, largest_pending: int, now: Callable[[], datetime]) -> None:
        self._store = store
        self._largest_pending = largest_pending
        self._now = now
        self._waiting: deque[_Waiting] = deque()
        self._pending = 0
        self._wake = asyncio.Event()
        self.committed_at: datetime | None = None
        """When a batch was last committed."""

    async def submit(self, requests: Sequence[Judged], fragments: Sequence[Fragment] = ()) -> None:
        """Return once the requests, and what waits for the rest of its request, are committed.

        :raises Overloaded: when too much waits already
        :raises StoreUnavailable: when Postgres did not commit
        :raises Unstorable: when Postgres does not take something in this body
        """
        waiting = _Waiting(requests, fragments, asyncio.get_running_loop().create_future())
        if not waiting.size:
            return
        if self._pending and self._pending + waiting.size > self._largest_pending:
            raise Overloaded(f"{self._pending} spans wait to be committed", RETRY_AFTER_SECONDS)
        self._pending += waiting.size
        telemetry.SPANS_IN_FLIGHT.set(self._pending)
        self._waiting.append(waiting)
        self._wake.set()
        await waiting.done

    async def run(self) -> None:
        """Commit for ever. Cancelled by the daemon after the receivers have stopped."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                bodies = self._take()
                try:
                    await self._commit(bodies)
                except Exception as error:
                    # Whatever it was, senders who wait for an answer must get one, and those after them be served.
                    telemetry.LOOP_ERRORS.labels("commit").inc()
                    log.exception("a batch failed", error=type(error).__name__, bodies=len(bodies))
                    self._fail(bodies, Unstorable("this body cannot be stored", RETRY_AFTER_SECONDS))

    def _take(self) -> list[_Waiting]:
        """The bodies of the next transaction."""
        taken = [self._waiting.popleft()]
        size = taken[0].size
        while self._waiting and size + self._waiting[0].size <= LARGEST_BATCH:
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        return taken

    async def _commit(self, bodies: Sequence[_Waiting]) -> None:
        requests = [judged for body in bodies for judged in body.requests]
        fragments = [fragment for body in bodies for fragment in body.fragments]
        start = perf_counter()
        try:
            with tracer.start_as_current_span("commit", attributes={"rows": len(requests), "bodies": len(bodies)}):
                written = await self._store.write(requests, self._now(), fragments)
        except StoreUnavailable as unavailable:
            telemetry.COMMITS_FAILED.inc()
            self._fail(bodies, unavailable)
            return
        except (Error, ValueError) as error:
            # Something in here cannot be stored. The others must not pay for it.
            telemetry.COMMITS_FAILED.inc()
            log.error("a batch cannot be stored", error=type(error).__name__, rows=len(requests), bodies=len(bodies))
            if len(bodies) == 1:
                self._fail(bodies, Unstorable("this body cannot be stored", RETRY_AFTER_SECONDS))
                return
            for body in bodies:
                await self._commit([body])
            return
        telemetry.COMMIT_SECONDS.observe(perf_counter() - start)
        telemetry.BATCH_ROWS.observe(len(requests))
        self.committed_at = self._now()
        count_written(written)
        telemetry.SPANS_RECEIVED.inc(len(requests))
        for body in bodies:
            self._settle(body, None)

    def _fail(self, bodies: Sequence[_Waiting], error: Overloaded) -> None:
        for body in bodies:
            self._settle(body, error)

    def _settle(self, body: _Waiting, error: Overloaded | None) -> None:
        if body.done.done() and not body.done.cancelled():
            return
        self._pending -= body.size
        telemetry.SPANS_IN_FLIGHT.set(self._pending)
        if body.done.cancelled():
            return  # the sender has gone; what was committed stays committed
        if error is None:
            body.done.set_result(None)
        else:
            body.done.set_exception(error)


def count_written(written: Written) -> None:
    """What a commit adds to the ledger."""
    for observed_by, rows in written.rows.items():
        telemetry.SPANS_ROWS.labels(observed_by.name.lower()).inc(rows)
    telemetry.SPANS_DUPLICATE.inc(written.duplicates + written.fragment_duplicates)
    # A fragment that waits already will never become anything else: it is counted here, and not by whoever closes the first.
    telemetry.SPANS_RECEIVED.inc(written.fragment_duplicates)
