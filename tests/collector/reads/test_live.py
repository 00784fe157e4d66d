from __future__ import annotations

from datetime import timedelta

from psycopg import AsyncConnection

from collector.event import Event, EventKind
from collector.reads.live import EngineDeath, Undelivered, count_rows, deaths, known_traces, undelivered
from collector.request import ObservedBy
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from collector.store.request import RequestStore
from tests.collector.example import judged, now, request


async def test_deaths_are_those_that_logs_told_since_a_time_the_newest_first(database: str) -> None:
    at = now()
    kinds = [(900, EventKind.OOM), (60, EventKind.OOM), (50, EventKind.DEATH), (40, EventKind.RESTART)]
    events = [
        Event(at=at - timedelta(seconds=ago), kind=kind, replica="vllm-0", detail={"cause": "oom"}) for ago, kind in kinds
    ]
    async with Database(database, application="test") as store:
        await FleetStore(store, Dictionary(store)).write_events(events)
    async with await AsyncConnection.connect(database) as connection:
        found = await deaths(connection, at - timedelta(minutes=5))
    assert [
        EngineDeath(at=at - timedelta(seconds=50), replica="vllm-0", kind=EventKind.DEATH, cause="oom"),
        EngineDeath(at=at - timedelta(seconds=60), replica="vllm-0", kind=EventKind.OOM, cause="oom"),
    ] == found


async def test_undelivered_are_counted_by_sink_with_the_error_of_the_one_tried_most(database: str) -> None:
    at = now()
    rows = [
        ("a", "pager", 5, "HTTP 503", None, None),
        ("b", "pager", 1, None, None, None),
        ("c", "pager", 9, "HTTP 400", None, at),
        ("d", "other", 1, None, at, None),
    ]
    async with await AsyncConnection.connect(database) as connection:
        for age, (fingerprint, sink, attempts, error, delivered_at, failed_at) in enumerate(rows):
            await connection.execute(
                "INSERT INTO outbox (fingerprint, starts_at, revision, status, sink, payload, created_at, attempts,"
                " next_attempt_at, last_error, delivered_at, failed_at)"
                " VALUES (%s, %s, 0, 'firing', %s, '{}', %s, %s, %s, %s, %s, %s)",
                (fingerprint, at, sink, at - timedelta(seconds=age), attempts, at, error, delivered_at, failed_at),
            )
        waiting = await undelivered(connection)
    since = at - timedelta(seconds=1)
    assert [Undelivered(sink="pager", count=2, since=since, attempts=5, last_error="HTTP 503")] == waiting


async def test_rows_of_every_observer_are_counted_and_traces_are_those_of_one(database: str) -> None:
    at = now()
    requests = [
        request(1, at),
        request(2, at - timedelta(minutes=5)),
        request(3, at, observed_by=ObservedBy.CLIENT),
        request(4, at, observed_by=ObservedBy.ENGINE),
    ]
    async with Database(database, application="test") as store:
        await RequestStore(store, Dictionary(store)).write(judged(requests), at)
    async with await AsyncConnection.connect(database) as connection:
        assert 4 == await count_rows(connection)
        assert {f"{1:032x}"} == await known_traces(connection, at - timedelta(minutes=1), ObservedBy.GATEWAY)
