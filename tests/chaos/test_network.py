"""The way between the processes and Postgres is cut, slowed, held up, and forgets connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.alerts.gate import Gate, gate
from tests.chaos.conftest import Fault, Form, each
from tests.chaos.site import BURN, ENGINE_DEAD, site

pytestmark = pytest.mark.chaos


async def cut(way: Gate, seconds: float) -> None:
    """Every connection ends, and new ones are refused."""
    await way.shut()
    await asyncio.sleep(seconds)
    await way.open()


async def delayed(way: Gate, seconds: float) -> None:
    """Each answer and each question is late."""
    way.delay_seconds = 0.05
    await asyncio.sleep(seconds)
    way.delay_seconds = 0.0


async def held(way: Gate, seconds: float) -> None:
    """Nothing arrives until later, and then everything."""
    way.hold()
    await asyncio.sleep(seconds)
    way.release()


async def forgotten(way: Gate, seconds: float) -> None:
    """Nothing arrives ever again on the connections that there are."""
    way.lose()
    await asyncio.sleep(seconds)


@each(cut, delayed, held, long=[forgotten])
async def test_network(database: str, tmp_path: Path, random: Random, form: Form, faults: Sequence[Fault]) -> None:
    async with gate(database) as way, site(tmp_path, database, random, way=way.conninfo) as on:
        on.add_collector()
        on.add_alerter()
        await on.ready()
        async with on.load() as load:
            planted = False
            for fault in random.sample(faults, len(faults)):
                await asyncio.sleep(form.seconds * random.random())
                plant = [] if planted else [load.plant(), on.engine.die()]
                await asyncio.gather(fault(way, form.outage_seconds), *plant)
                planted = True
            await on.told(BURN)
            await on.told(ENGINE_DEAD)
        await on.balanced(load, counted=True)
