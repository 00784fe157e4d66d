"""What a person gets: alerters and Postgres die under a real Alertmanager, and there is one message about each alert."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.alerts.receiver import receiving
from tests.chaos.conftest import Form
from tests.chaos.postgres import FAST, IMMEDIATE, KILLED, Postgres
from tests.chaos.site import BURN, ENGINE_DEAD, site
from tests.e2e.alertmanager import alertmanager

# With those that need a real Alertmanager, in whichever form.
pytestmark = [pytest.mark.chaos, pytest.mark.e2e]


async def test_one_notification_group(
    chaos_database: str, server: Postgres, tmp_path: Path, random: Random, form: Form
) -> None:
    async with receiving() as person, alertmanager(person.url) as url:
        sinks = {"alertmanagers": [{"name": "am-0", "url": url}]}
        settings = {"sinks": sinks, "alerts": {"watchdog": False}}
        async with site(tmp_path, chaos_database, random, settings=settings) as on:
            on.receiver = person
            on.add_collector()
            alerters = [on.add_alerter() for _ in range(3)]
            await on.ready()
            async with on.load() as load:
                await asyncio.gather(load.plant(), on.engine.die())
                for _ in range(form.faults):
                    await asyncio.sleep(form.seconds * random.random())
                    victim = random.choice(alerters)
                    await victim.kill()
                    victim.start()
                    await server.restart(random.choice((FAST, IMMEDIATE, KILLED)))
                await on.told(BURN)
                await on.told(ENGINE_DEAD)
                # More than a few group intervals: nothing else comes.
                await asyncio.sleep(form.seconds * 2)
            await on.balanced(load, counted=True)
        assert [BURN, ENGINE_DEAD] == sorted((name for name, _ in person.told), reverse=True)
        assert len(person.bodies) == len({body["groupKey"] for body in person.bodies})
