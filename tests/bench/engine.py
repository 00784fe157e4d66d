"""Pages of engines: reading one against prometheus_client, and scraping a fleet of them without Postgres."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from collector.config import Config
from collector.engines import Reader
from collector.exposition import Parser
from collector.fetch import session
from collector.scrape import Watcher
from collector.target import Target
from tests.bench.measure import Ratio, cpu, ratio

PAGE = Path(__file__).parents[1] / "data" / "vllm" / "metrics_load.txt"
PAGES, IN_A_ROW = 64, 8
ENGINES, TARGETS, ROUNDS, ROUND_SECONDS = 1000, 40, 13, 5
"""Targets of the measurement stand for engines of the fleet; rounds are a minute and the one ahead, which does not count."""


class Fleet(NamedTuple):
    """What scraping a fleet takes: CPU of one target and round, and of the whole fleet in cores."""

    engines: int
    milliseconds: float
    cores: float


def compare() -> list[Ratio]:
    """A page of vLLM read again and again, as its values move."""
    parser, reader = Parser(), Reader()
    ways: Sequence[Callable[[str], object]] = (_reference, parser.parse, reader.read)
    seconds: list[list[float]] = [[], [], []]
    pages = _pages()
    # Several pages in a row: what another way left in the processor's caches is not part of it.
    for start in range(0, PAGES, IN_A_ROW):
        for way, found in zip(ways, seconds, strict=True):
            found.append(cpu(way, pages[start : start + IN_A_ROW]))
    peer, ours, whole = (found[1:] for found in seconds)
    return [
        ratio("page to series and values, times faster", ours, "prometheus_client", peer, items=IN_A_ROW, faster=True),
        ratio("page to snapshot of everything, times faster", whole, "prometheus_client", peer, items=IN_A_ROW, faster=True),
    ]


def _reference(page: str) -> object:
    return [sample for family in text_string_to_metric_families(page) for sample in family.samples]


def _pages() -> list[str]:
    """Pages of one engine, one scrape after the other: two of three of its values moved."""
    lines = PAGE.read_text().splitlines()
    fixed = re.compile(r"#|process_start|[^ ]*_created")
    return [
        "\n".join(
            line if fixed.match(line) or number % 3 == 0 else f"{line.rpartition(' ')[0]} {scrape * 1000 + number + 0.125}"
            for number, line in enumerate(lines)
        )
        + "\n"
        for scrape in range(1, PAGES + 1)
    ]


class _Nowhere:
    """Takes snapshots and keeps none: Postgres' part is measured by itself."""

    async def write(self, *_: Any) -> None:
        """Nothing."""

    async def write_change(self, *_: Any) -> None:
        """Nothing."""


async def scrape_fleet() -> Fleet:
    """A minute of scrapes, gauges each time and everything once, with a health check each time. Time is not waited for."""
    program = (sys.executable, "-m", "tests.bench.engine")
    server = await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    at = datetime.now(UTC).replace(second=0, microsecond=0)
    url = (await server.stdout.readline()).decode().strip()
    targets = [Target(url=url, replica=f"vllm-{number}") for number in range(TARGETS)]
    nowhere: Any = _Nowhere()
    async with session() as client:
        watchers = [Watcher(target, Config(targets=tuple(targets)), nowhere, client, lambda: at) for target in targets]
        seconds = []
        for _ in range(ROUNDS):
            start = process_time()
            for watcher in watchers:
                await watcher.check_health()
                await watcher.scrape()
            seconds.append(process_time() - start)
            at += timedelta(seconds=ROUND_SECONDS)
    server.stdin.close()
    await server.wait()
    each = sum(seconds[1:]) / (ROUNDS - 1) / TARGETS
    return Fleet(ENGINES, each * 1e3, each * ENGINES / ROUND_SECONDS)


async def serve() -> None:
    """Be an engine, until standard input ends: its page moves each time. Says its address."""
    pages, asked = _pages(), 0

    async def page(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(text=pages[asked // TARGETS % PAGES])

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/metrics", page), web.get("/health", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
