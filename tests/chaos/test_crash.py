"""Collectors and alerters are killed at random points."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.chaos.conftest import Form
from tests.chaos.site import BURN, ENGINE_DEAD, site
from tests.process import Process

pytestmark = pytest.mark.chaos


async def restart(process: Process, seconds: float) -> None:
    """Kill a process in a while, and start it again, as a supervisor does."""
    await asyncio.sleep(seconds)
    await process.kill()
    process.start()


async def test_collector_and_alerters_killed(database: str, tmp_path: Path, random: Random, form: Form) -> None:
    async with site(tmp_path, database, random) as on:
        collector = on.add_collector()
        alerters = [on.add_alerter() for _ in range(2)]
        await on.ready()
        async with on.load() as load:
            await load.plant()
            for number in range(form.faults if form.long else 1):
                victims = (collector, alerters[number % 2])
                await asyncio.gather(*(restart(one, form.seconds * random.random()) for one in victims))
            await on.told(BURN)
            await on.ready()
            await on.engine.die()
            await on.told(ENGINE_DEAD)
        await on.balanced(load, counted=False)
