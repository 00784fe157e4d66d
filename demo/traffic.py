"""Traffic through the gateway, with a record of what the clients saw, so that rows can be compared with it."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TextIO

import aiohttp

from demo.client import call, to_line
from demo.tenant import keys_by_tenant, read_directory
from demo.workload import Ask, asks

_PATIENCE_SECONDS = 120.0
"""Of a client: longer than the gateway's deadline, so that the gateway's answer is what it sees."""


async def run(
    base_url: str,
    keys: Mapping[str, str],
    *,
    rate: float,
    stop: asyncio.Event,
    record: Path,
    seed: int,
    invalid_share: float = 0.03,
    limit: int | None = None,
    model: str = "tiny",
) -> int:
    """Send requests at random times, ``rate`` a second on average, until ``stop`` or ``limit``; then wait for the answers.

    ``keys`` has one API key per tenant of the workload. Appends one line per finished call to ``record`` (see ``Seen``).
    Returns how many calls were made.
    """
    pauses = random.Random(seed)
    return await send(
        base_url,
        keys,
        islice(asks(seed, model, invalid_share), limit),
        (pauses.expovariate(rate) for _ in iter(int, 1)),
        stop=stop,
        record=record,
    )


async def send(
    base_url: str,
    keys: Mapping[str, str],
    work: Iterator[Ask],
    pauses: Iterator[float],
    *,
    stop: asyncio.Event,
    record: Path,
) -> int:
    """Send ``work``, each after its pause in seconds, whether earlier ones were answered or not; as ``run``."""
    count = 0
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("a") as lines:
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
            for ask, pause in zip(work, pauses, strict=False):
                if await _stopped_within(stop, pause):
                    break
                group.create_task(_record(session, base_url, keys[ask.tenant], ask, lines))
                count += 1
    return count


async def _record(session: aiohttp.ClientSession, base_url: str, key: str, ask: Ask, lines: TextIO) -> None:
    lines.write(to_line(await call(session, base_url, key, ask)))
    lines.flush()


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


async def _main(arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if arguments.seconds is not None:
        asyncio.get_running_loop().call_later(arguments.seconds, stop.set)
    return await run(
        arguments.url.rstrip("/"),
        keys_by_tenant(read_directory(arguments.keys)),
        rate=arguments.rate,
        stop=stop,
        record=arguments.record,
        seed=arguments.seed,
        invalid_share=arguments.invalid_share,
        limit=arguments.limit,
        model=arguments.model,
    )


def main() -> None:
    """Send traffic until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m demo.traffic", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the gateway")
    parser.add_argument("--keys", required=True, type=Path, metavar="FILE.json", help="the gateway's keys file")
    parser.add_argument("--record", required=True, type=Path, metavar="FILE.jsonl", help="what the clients saw is added here")
    parser.add_argument("--rate", type=float, default=3.0, help="requests per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--invalid-share", type=float, default=0.03)
    parser.add_argument("--limit", type=int, help="stop after so many requests")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--model", default="tiny")
    print(f"{asyncio.run(_main(parser.parse_args()))} requests sent")


if __name__ == "__main__":
    main()
