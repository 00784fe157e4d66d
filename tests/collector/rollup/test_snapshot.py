"""What an hour of snapshots comes to, checked against what the scrapes were made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from collector.event import Event, EventKind
from collector.metrics import (
    GPU_MEMORY_USED,
    KV_CACHE_USAGE,
    PREEMPTIONS,
    PREFIX_CACHE_HITS,
    REQUESTS_RUNNING,
    REQUESTS_WAITING,
    Family,
)
from collector.replica import ReplicaState
from collector.rollup import coarsen
from collector.rollup.age import hour_of
from collector.sample import Snapshot
from collector.sketch import quantile
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from tests.collector.example import now, rows

HOUR = hour_of(now()) - timedelta(hours=3)
_OVER = HOUR + timedelta(minutes=63)


class Replica:
    """A replica that is scraped."""

    def __init__(self, database: Database, name: str = "vllm-0") -> None:
        self._store = FleetStore(database, Dictionary(database))
        self._state = ReplicaState(
            replica=name,
            url=f"http://{name}",
            environment="production",
            cluster="default",
            model="tiny",
            health_since=HOUR,
            checked_at=HOUR,
        )

    async def scrape(
        self, second: float, values: Mapping[Family, float], started: datetime | None = None, engine: str = "0"
    ) -> None:
        """One scrape, ``second`` seconds after the hour began."""
        snapshot = Snapshot(
            scraped_at=HOUR + timedelta(seconds=second),
            replica=self._state.replica,
            engine=engine,
            model="tiny",
            values=values,
            histograms={},
            process_started_at=started,
        )
        await self._store.write(self._state, (), [snapshot])

    async def tell(self, second: float, kind: EventKind) -> None:
        """Something that happened to it."""
        event = Event(at=HOUR + timedelta(seconds=second), kind=kind, replica=self._state.replica, model="tiny", detail={})
        await self._store.write_events([event])


async def test_gauges_become_time_and_means(connected: Database, look: AsyncConnection[Any]) -> None:
    replica = Replica(connected)
    usage = [number / 240 for number in range(240)]
    for number, kv in enumerate(usage):
        await replica.scrape(number * 15, {REQUESTS_RUNNING: number % 5, REQUESTS_WAITING: 2, KV_CACHE_USAGE: kv})
    await replica.scrape(3600, {REQUESTS_RUNNING: 9})
    await coarsen(connected, _OVER)
    ((scrapes, observed, ready, full, running, waiting, most),) = await rows(
        look,
        "snapshot_hour",
        "scrapes, observed_seconds, ready_seconds, kv_over_90_seconds, requests_running_seconds, requests_waiting_seconds,"
        " requests_running_max",
    )
    seconds = 3600.0
    assert (240, seconds, seconds, 4.0) == (scrapes, observed, ready, most)
    assert 15.0 * sum(kv > 0.9 for kv in usage) == full
    assert (sum(number % 5 for number in range(240)) * 15.0, 2 * seconds) == (running, waiting)
    ((buckets, counts),) = await rows(look, "snapshot_hour", "kv_cache_usage_ratio_buckets, kv_cache_usage_ratio_counts")
    for share in (0.5, 0.9, 0.99):
        exact = sorted(usage)[max(0, int(share * 240 + 0.999) - 1)]
        assert quantile(dict(zip(buckets, counts, strict=True)), share) == pytest.approx(exact, rel=0.021)


@pytest.mark.parametrize(
    ("scrapes", "counted", "restarts"),
    [
        pytest.param([(60, 100, 0), (120, 130, 0), (180, 190, 0)], 90, 0, id="differences"),
        pytest.param([(-60, 70, 0), (60, 100, 0), (120, 130, 0)], 60, 0, id="from the hour before"),
        pytest.param([(60, 100, 0), (120, 7, 90), (180, 9, 90)], 9, 1, id="a restart counts from zero"),
        pytest.param([(60, 100, 0), (120, 150, 90), (180, 151, 90)], 151, 1, id="a restart that overtakes"),
        pytest.param([(60, 100, None), (120, 7, None), (180, 9, None)], 9, 1, id="a counter that falls"),
        pytest.param([(60, 5, 30), (120, 9, 30)], 9, 0, id="an engine that is new"),
        pytest.param([(60, 100, 0), (120, 130, 1), (180, 190, 0)], 90, 0, id="a start that is read unevenly"),
        pytest.param([(60, 100, 0), (120, 900, -7200), (180, 110, 0), (240, 905, -7200)], 0, 0, id="two processes in turn"),
    ],
)
async def test_counters_become_what_was_counted(
    connected: Database,
    look: AsyncConnection[Any],
    scrapes: list[tuple[float, float, float | None]],
    counted: float,
    restarts: int,
) -> None:
    replica = Replica(connected)
    # A process that was there long before the first scrape, where its start is not said to be in this hour.
    long_ago = HOUR - timedelta(hours=9)
    for second, value, start in scrapes:
        begun = None if start is None else (long_ago if start <= 1 else HOUR) + timedelta(seconds=start)
        await replica.scrape(second, {PREEMPTIONS: value, PREFIX_CACHE_HITS: 2 * value, REQUESTS_RUNNING: 1}, begun)
        await replica.scrape(second + 15, {REQUESTS_RUNNING: 1}, begun)
    for _ in range(3):
        await coarsen(connected, _OVER)
    cursor = await look.execute(
        "SELECT coalesce(preemptions, 0), coalesce(prefix_cache_hits, 0), restarts FROM snapshot_hour WHERE hour = %s", (HOUR,)
    )
    assert [(counted, 2 * counted, restarts)] == await cursor.fetchall()


async def test_engines_of_one_replica_count_together(connected: Database, look: AsyncConnection[Any]) -> None:
    replica = Replica(connected)
    for second in (0, 60, 120):
        for engine in ("0", "1"):
            values = {REQUESTS_RUNNING: 3.0, PREEMPTIONS: float(second), KV_CACHE_USAGE: 0.95 if engine == "1" else 0.1}
            await replica.scrape(second, values, HOUR - timedelta(days=1), engine)
    await coarsen(connected, _OVER)
    columns = "scrapes, observed_seconds, requests_running_seconds, requests_running_max, kv_over_90_seconds, preemptions"
    assert [(3, 180.0, 1080.0, 6.0, 180.0, 240.0)] == await rows(look, "snapshot_hour", columns)


async def test_time_in_which_health_failed_is_observed_and_not_ready(connected: Database, look: AsyncConnection[Any]) -> None:
    replica = Replica(connected)
    for number in range(241):
        await replica.scrape(number * 15, {REQUESTS_RUNNING: 0})
    await replica.tell(600, EventKind.ENGINE_DOWN)
    await replica.tell(1200, EventKind.ENGINE_READY)
    await coarsen(connected, _OVER)
    assert [(3600.0, 3000.0)] == await rows(look, "snapshot_hour", "observed_seconds, ready_seconds")


async def test_a_scrape_holds_for_a_minute_at_most(connected: Database, look: AsyncConnection[Any]) -> None:
    replica = Replica(connected)
    for second in (0, 15, 1800, 1815):
        await replica.scrape(second, {REQUESTS_RUNNING: 4})
    await coarsen(connected, _OVER)
    assert [(15.0 + 60.0 + 15.0 + 60.0, 600.0)] == await rows(
        look, "snapshot_hour", "observed_seconds, requests_running_seconds"
    )


async def test_hours_follow_each_other_and_none_is_done_twice_or_before_its_end(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    replica = Replica(connected)
    for second in (0, 10, 2 * 3600, 2 * 3600 + 10, 3 * 3600):
        await replica.scrape(second, {REQUESTS_RUNNING: 1})
    # An exporter's rows say nothing of an engine.
    await replica.scrape(3600, {GPU_MEMORY_USED: 1.0})
    await coarsen(connected, HOUR + timedelta(minutes=61))
    assert [] == await rows(look, "snapshot_hour", "hour")
    for _ in range(4):
        await coarsen(connected, HOUR + timedelta(hours=3, minutes=5))
    assert [(HOUR,), (HOUR + timedelta(hours=2),)] == await rows(look, "snapshot_hour", "hour")
