"""The clock is set an hour forth and back, under collector and alerter."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random

import pytest

from tests.chaos.conftest import Form
from tests.chaos.site import BURN, ENGINE_DEAD, site

pytestmark = pytest.mark.chaos

HOUR_SECONDS = 3600.0


def set_to(file: Path, ahead_seconds: float) -> None:
    """Set the clock; who reads sees the old or the new time, and never an empty file."""
    fresh = file.with_suffix(".new")
    fresh.write_text(str(ahead_seconds))
    os.replace(fresh, file)


async def test_clock_is_set_and_set_right(database: str, tmp_path: Path, random: Random, form: Form) -> None:
    clock = tmp_path / "ahead"
    set_to(clock, 0)
    async with site(tmp_path, database, random, entry=("tests.chaos.clock", str(clock))) as on:
        on.add_collector()
        on.add_alerter()
        await on.ready()
        async with on.load() as load:
            planted = False
            for step_seconds in random.sample((HOUR_SECONDS, -HOUR_SECONDS) * (form.faults // 2), form.faults):
                await asyncio.sleep(form.seconds)
                set_to(clock, step_seconds)
                # Longer than from one evaluation to the next.
                await asyncio.gather(asyncio.sleep(1.5 + form.seconds), *([] if planted else [load.plant()]))
                set_to(clock, 0)
                planted = True
            await on.told(BURN)
            await on.engine_is_ready()
            await on.engine.die()
            await on.told(ENGINE_DEAD)
        assert {BURN, ENGINE_DEAD} == {name for name, _ in on.receiver.told}, "nobody is paged for a clock"
        await on.balanced(load, counted=True)
