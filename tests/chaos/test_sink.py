"""A sink that hangs, beside a good one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.alerts.receiver import receiving
from tests.chaos.conftest import Form
from tests.chaos.site import BURN, ENGINE_DEAD, site

pytestmark = pytest.mark.chaos


async def test_sink_hangs(database: str, tmp_path: Path, random: Random, form: Form) -> None:
    async with receiving() as good, receiving() as hanging:
        hanging.answers.clear()
        # The one that hangs comes first.
        hooks = [{"name": "hanging", "url": hanging.url, "timeout_seconds": 1.0}, {"name": "good", "url": good.url}]
        async with site(tmp_path, database, random, settings={"sinks": {"webhooks": hooks}}) as on:
            on.receiver = good
            on.add_collector()
            on.add_alerter()
            await on.ready()
            async with on.load() as load:
                await load.plant()
                await on.told(BURN)
                await on.engine.die()
                await asyncio.sleep(form.seconds)
                await on.told(ENGINE_DEAD)
                assert [] == hanging.bodies
                assert hanging.seen
                hanging.answers.set()
                on.receiver = hanging
                await on.told(BURN)
                await on.told(ENGINE_DEAD)
            await on.balanced(load, counted=True)
        told = [{(one["fingerprint"], one["startsAt"]) for one in sink.alerts} for sink in (good, hanging)]
        assert told[0] == told[1]
