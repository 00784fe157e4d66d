from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from alerts.store.status import SloStatus, read_alert_statuses, read_slo_statuses
from collector.request import Outcome
from tests.alerts.scene import Scene, config_of, scene


@pytest.fixture
async def on(database: str) -> AsyncIterator[Scene]:
    async with scene(database, config_of()) as one:
        yield one


async def test_the_state_of_every_slo_is_what_its_alert_and_its_requests_say(on: Scene) -> None:
    await on.serve(Outcome.SERVER_ERROR, seconds=30)
    await on.serve(requests=850)
    await on.begin()
    await on.pass_time(1, Outcome.VALIDATION)
    async with on.database.transaction() as connection:
        statuses = await read_slo_statuses(connection, on.slos, on.config, on.now)

    assert [
        SloStatus("availability", {"model": "llama"}, 0.995, 30.0, 30.0, 1000, -29.0, "firing"),
        SloStatus("ttft", {"model": "llama"}, 0.99, 0.0, 0.0, 850, 1.0, "inactive"),
    ] == statuses


async def test_alerts_are_listed_until_an_hour_after_their_end(on: Scene) -> None:
    await on.serve(Outcome.SERVER_ERROR, seconds=30)
    await on.begin()
    await on.pass_time(1)

    async def listed(hours: float) -> list[tuple[str, str, str]]:
        async with on.database.transaction() as connection:
            found = await read_alert_statuses(connection, on.now + timedelta(hours=hours))
        return [(alert.name, alert.state, alert.labels["severity"]) for alert in found]

    assert [("SLOBurn", "firing", "page")] == await listed(48)
    await on.pass_time(135, requests=10)
    assert [("SLOBurn", "resolved", "page")] == await listed(0.9)
    assert [] == await listed(1.1)
