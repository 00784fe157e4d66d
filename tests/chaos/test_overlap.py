"""The same bodies come to two collectors, more than once and in any order, beside load on both."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from tests.chaos.conftest import Form
from tests.chaos.load import Load
from tests.chaos.postgres import IMMEDIATE, Postgres
from tests.chaos.site import BURN, site
from tests.collector.otlp_body import body, chat_span

pytestmark = pytest.mark.chaos

BODIES, COPIES = 30, 4
FIRST = 2_000_000


async def overlap(load: Load, random: Random) -> None:
    """Bodies that share spans, each sent several times, in no order."""
    at = datetime.now(UTC) - timedelta(seconds=90)
    spans = [chat_span(FIRST + number, at + timedelta(milliseconds=number)) for number in range(20 * BODIES)]
    bodies = []
    for number in range(BODIES):
        # Half of each body is in the next one too.
        part = spans[20 * number : 20 * number + 30]
        random.shuffle(part)
        bodies += [(body(part), len(part))] * COPIES
    random.shuffle(bodies)
    load.calls.update(range(FIRST, FIRST + len(spans)))

    async def send(some: list[tuple[bytes, int]]) -> None:
        for data, count in some:
            await load.acknowledge(data, count)

    await asyncio.gather(*(send(bodies[offset::4]) for offset in range(4)))


async def test_duplicates_and_reordering_across_two_collectors(
    chaos_database: str, server: Postgres, tmp_path: Path, random: Random, form: Form
) -> None:
    async with site(tmp_path, chaos_database, random) as on:
        for _ in range(2):
            on.add_collector()
        on.add_alerter()
        await on.ready()
        async with on.load() as load:
            for number in range(form.faults):
                twice = [load.plant(), load.plant()] if number == 0 else []
                first = asyncio.create_task(overlap(load, random)) if number == 0 else None
                await asyncio.gather(*twice)
                await asyncio.sleep(form.seconds * random.random())
                await server.restart(IMMEDIATE)
                if first is not None:
                    await first
            await on.told(BURN)
        await on.balanced(load, counted=True)
