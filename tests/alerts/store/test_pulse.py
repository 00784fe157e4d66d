from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from alerts.burn import Tally
from alerts.detect import MONTH_SECONDS, clustering
from alerts.store.pulse import read_past
from tests.alerts.scene import Scene, config_of, scene


@pytest.fixture
async def on(database: str) -> AsyncIterator[Scene]:
    async with scene(database, config_of()) as one:
        await one.serve(requests=3)
        yield one


async def stream(on: Scene) -> int:
    ((found,),) = await on.execute("SELECT id FROM streams WHERE objective_id = %s", (on.slos[0].objective.id,))
    return int(found)


async def test_the_past_is_minutes_and_pulses_over_each_window(on: Scene) -> None:
    mine = await stream(on)
    minute = on.now.replace(second=0)
    for hours, good, bad in ((1, 10, 1), (5, 20, 2), (20, 40, 4), (60, 80, 8), (24 * 20, 160, 16), (24 * 31, 999, 999)):
        await on.execute("INSERT INTO slo_minute VALUES (%s, %s, %s, %s)", (minute - timedelta(hours=hours), mine, good, bad))
    evaluator = await on.begin()
    past = (await read_past(evaluator.connection, [mine], [7], on.now))[mine]

    assert {
        7200: Tally(13, 1),
        21_600: Tally(33, 3),
        86_400: Tally(73, 7),
        259_200: Tally(153, 15),
        7 * 86_400: Tally(153, 15),
        MONTH_SECONDS: Tally(313, 31),
    } == past.windows
    assert int((minute - timedelta(days=20)).timestamp()) == past.first


async def test_clustering_is_learned_from_failures_by_5_minutes_and_not_from_outages(on: Scene) -> None:
    mine = await stream(on)
    bin = on.now.replace(minute=0, second=0) - timedelta(days=1)
    for minutes, good, bad in ((0, 90, 3), (4, 90, 4), (5, 90, 2), (30, 90, 5), (60, 10, 90), (90, 1, 9)):
        await on.execute("INSERT INTO slo_minute VALUES (%s, %s, %s, %s)", (bin + timedelta(minutes=minutes), mine, good, bad))
    evaluator = await on.begin()
    past = (await read_past(evaluator.connection, [mine], [], on.now))[mine]

    # 7, then 2 in the next bin; 5; and 9 of 10, which is too little traffic for an outage
    assert clustering(7 * 7 + 2 * 2 + 5 * 5 + 9 * 9, 7 * 2, 7 + 2 + 5 + 9) == past.clustering
