"""Processes that the spool's tests kill, or run on a disk that is full: ``python -m tests.collector.spool.victim VERB …``."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from collector.errors import Overloaded
from collector.request import Request
from collector.spool.spool import Spool
from tests.collector.example import request

SENDERS = 8


def spool(root: Path) -> Spool:
    return Spool(
        root,
        largest_bytes=2**30,
        longest_age=timedelta(hours=24),
        largest_pending=100_000,
        now=lambda: datetime.now(UTC),
        segment_bytes=2**16,
    )


def body(first: int, size: int) -> list[Request]:
    """Requests that do not compress, so that a disk fills and a kill finds a write under way."""
    at = datetime.now(UTC)
    return [request(number, at, request_id=os.urandom(2_000).hex()) for number in range(first, first + size)]


async def append_for_ever(root: Path, first: int) -> None:
    """Print the number of each acknowledged request."""
    numbers = iter(range(first, first + 1_000_000, 10))

    async def send(target: Spool) -> None:
        while True:
            start = next(numbers)
            size = random.randint(1, 10)
            await target.append(body(start, size), datetime.now(UTC))
            print("\n".join(f"acknowledged {number}" for number in range(start, start + size)), flush=True)

    async with spool(root) as target, asyncio.TaskGroup() as tasks:
        for _ in range(SENDERS):
            tasks.create_task(send(target))


async def fill(root: Path) -> None:
    """Append until the disk is full; make room; append again. Prints what was acknowledged, and how it was refused."""
    acknowledged: list[int] = []
    refusals: list[str] = []
    async with spool(root) as target:
        number = 0
        while len(refusals) < 5:
            size = random.randint(1, 10)
            try:
                await target.append(body(number, size), datetime.now(UTC))
                acknowledged += range(number, number + size)
            except Overloaded as full:
                refusals.append(str(full))
            number += size
        (root.parent / "ballast").unlink()
        await target.append(body(number, 3), datetime.now(UTC))
        acknowledged += range(number, number + 3)
    print(json.dumps({"acknowledged": acknowledged, "refusals": refusals}))


if __name__ == "__main__":
    verb, directory = sys.argv[1:3]
    if verb == "append":
        asyncio.run(append_for_ever(Path(directory), int(sys.argv[3])))
    else:
        asyncio.run(fill(Path(directory)))
