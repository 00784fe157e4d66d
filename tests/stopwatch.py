"""Time that something took, without the time for which the machine was busy with others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

TICK_SECONDS = 0.02


class Stopwatch:
    """``seconds`` passed, of which ``late_seconds`` are those that a process that had something to do had to wait for."""

    def __init__(self) -> None:
        self._start = monotonic()
        self.late_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return monotonic() - self._start

    @property
    def own_seconds(self) -> float:
        """What it would have taken on a machine with a processor to spare, about."""
        return self.seconds - self.late_seconds

    async def tick(self) -> None:
        """Find out how late the machine lets somebody be who asks for little, again and again."""
        while True:
            before = monotonic()
            await asyncio.sleep(TICK_SECONDS)
            self.late_seconds += monotonic() - before - TICK_SECONDS


@asynccontextmanager
async def stopwatch() -> AsyncIterator[Stopwatch]:
    """One that runs while the block lasts."""
    one = Stopwatch()
    ticking = asyncio.create_task(one.tick())
    try:
        yield one
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
