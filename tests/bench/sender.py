"""Another process that sends: what it costs is not the collector's. It makes its bodies ahead, and sends them when told."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import aiohttp

from tests.bench.workload import gateway_body

AT_ONCE = 4
"""Bodies under way, as of so many exporters."""


async def send(url: str, seed: int, count: int) -> None:
    """For each line on standard input: make bodies, say so, wait for the next line, send them, say so."""
    async with aiohttp.ClientSession() as session:
        while await asyncio.to_thread(sys.stdin.readline):
            bodies = [gateway_body(seed + number, datetime.now(UTC)) for number in range(count)]
            seed += count
            print("made", flush=True)
            await asyncio.to_thread(sys.stdin.readline)

            async def sender(bodies: list[bytes] = bodies) -> None:
                while bodies:
                    data = bodies.pop()
                    async with session.post(url, data=data, headers={"Content-Type": "application/x-protobuf"}) as answer:
                        if answer.status != 200:
                            raise RuntimeError(f"the collector answered {answer.status}")

            await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
            print("sent", flush=True)


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
