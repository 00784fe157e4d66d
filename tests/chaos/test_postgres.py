"""Postgres goes away, comes back, stands still, and dies in the middle of commits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.chaos.conftest import Fault, Form, each
from tests.chaos.postgres import FAST, IMMEDIATE, KILLED, Postgres
from tests.chaos.site import BURN, ENGINE_DEAD, site

pytestmark = pytest.mark.chaos


async def stopped(server: Postgres, random: Random, seconds: float) -> None:
    """It is away for a while."""
    await server.end(random.choice((FAST, IMMEDIATE)))
    await asyncio.sleep(seconds)
    await server.begin()


async def restarted(server: Postgres, random: Random, seconds: float) -> None:
    """It ends in the middle of something, one time after the other, and is back at once."""
    for _ in range(3):
        await server.restart(random.choice((FAST, IMMEDIATE, KILLED)))
        await asyncio.sleep(0.3 * random.random())


async def frozen(server: Postgres, random: Random, seconds: float) -> None:
    """All its processes stand still, and go on."""
    server.freeze()
    await asyncio.sleep(seconds)
    server.thaw()


@each(stopped, restarted, frozen)
async def test_postgres(
    chaos_database: str, server: Postgres, tmp_path: Path, random: Random, form: Form, faults: Sequence[Fault]
) -> None:
    async with site(tmp_path, chaos_database, random) as on:
        on.add_collector()
        on.add_alerter()
        await on.ready()
        async with on.load() as load:
            planted = False
            for fault in random.sample(faults, len(faults)):
                await asyncio.sleep(form.seconds * random.random())
                plant = [] if planted else [load.plant(), on.engine.die()]
                await asyncio.gather(fault(server, random, form.outage_seconds), *plant)
                planted = True
            await on.told(BURN)
            await on.told(ENGINE_DEAD)
        await on.balanced(load, counted=True)
