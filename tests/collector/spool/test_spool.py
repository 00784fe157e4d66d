from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from collector import telemetry
from collector.errors import Overloaded, StoreUnavailable, Unstorable
from collector.spool.replay import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, Batch
from collector.spool.spool import Spool
from tests.collector.spool.example import AT, numbers, requests

LEDGER = ("received", "rows", "duplicate", "rejected", "pending")


class Store:
    """Stands in for Postgres, with what it does to the ledger."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.batches: list[Batch] = []
        self.away = False
        self.poison: set[int] = set()
        self.calls = 0

    async def deliver(self, batch: Batch) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("Postgres did not commit", 2)
        if self.poison & set(numbers(batch.requests)):
            raise Unstorable("no such value", 2)
        self.batches.append(batch)
        new = sorted(set(numbers(batch.requests)) - set(self.rows))
        self.rows += new
        telemetry.SPANS_ROWS.labels("gateway").inc(len(new))
        telemetry.SPANS_DUPLICATE.inc(len(batch.requests) - len(new))


class Clock:
    """Sleeps in no time, and remembers for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def opened(root: Path, clock: Clock | None = None, **limits: int) -> AsyncIterator[Spool]:
    spool = Spool(
        root,
        largest_bytes=limits.get("largest_bytes", 2**20),
        longest_age=timedelta(hours=24),
        largest_pending=limits.get("largest_pending", 100_000),
        now=lambda: AT + timedelta(minutes=5),
        sleep=(clock or Clock()).sleep,
    )
    async with spool:
        yield spool


@asynccontextmanager
async def replaying(spool: Spool, store: Store) -> AsyncIterator[None]:
    task = asyncio.create_task(spool.replay(store.deliver))
    try:
        yield
    finally:
        task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - gauges and lists set no event
            await asyncio.sleep(0)


def ledger() -> dict[str, float]:
    values = dict.fromkeys(LEDGER, 0.0)
    for family in REGISTRY.collect():
        name = family.name.removeprefix("llm_slo_spans_")
        if name in values:
            values[name] = sum(sample.value for sample in family.samples if not sample.name.endswith("_created"))
    return values


def change(before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in ledger().items() if value != before[name]}


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(name)


async def test_what_was_appended_is_delivered_with_the_time_of_receipt(tmp_path: Path) -> None:
    store, before = Store(), ledger()
    async with opened(tmp_path) as spool:
        await spool.append(requests(1, 2), AT)
        assert {"received": 2, "pending": 2} == change(before)
        assert (300.0, True) == (gauge("llm_slo_spool_oldest_seconds"), (gauge("llm_slo_spool_bytes") or 0) > 0)
        async with replaying(spool, store):
            await until(lambda: gauge("llm_slo_spool_bytes") == 0)
    assert [Batch(AT, tuple(requests(1, 2)))] == store.batches
    assert {"received": 2, "rows": 2} == change(before)
    assert 0 == gauge("llm_slo_spool_oldest_seconds")


async def test_bodies_that_wait_share_an_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, []

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        real(descriptor)

    async with opened(tmp_path) as spool:
        await spool.append(requests(0), AT)  # which makes the segment
        monkeypatch.setattr("collector.spool.journal.os.fsync", counted)
        await asyncio.gather(*(spool.append(requests(number), AT) for number in range(1, 50)))
        assert 1 <= len(synced) <= 2


async def test_nothing_is_acknowledged_before_its_fsync_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun, allowed = os.fsync, threading.Event(), threading.Event()

    def held(descriptor: int) -> None:
        begun.set()
        allowed.wait()
        real(descriptor)

    async with opened(tmp_path) as spool:
        monkeypatch.setattr("collector.spool.journal.os.fsync", held)
        before = ledger()
        append = asyncio.create_task(spool.append(requests(1), AT))
        await asyncio.to_thread(begun.wait, 10)
        assert ({}, False) == (change(before), append.done())
        allowed.set()
        await append
        assert {"received": 1, "pending": 1} == change(before)


async def test_ledger_holds_at_every_step_of_an_outage(tmp_path: Path) -> None:
    store, clock, before, seen = Store(), Clock(), ledger(), []
    async with opened(tmp_path, clock) as spool, replaying(spool, store):
        store.away = True
        for number in range(40):
            await spool.append(requests(number, number + 1), AT + timedelta(seconds=number))
            seen.append(change(before))
        store.away = False
        while not seen or seen[-1].get("pending"):
            await asyncio.sleep(0)
            seen.append(change(before))
    assert list(range(41)) == sorted(store.rows)
    assert {"received": 80, "rows": 41, "duplicate": 39} == seen[-1]
    assert all(one["received"] == sum(one.values()) - one["received"] for one in seen)


async def test_restart_counts_what_is_left_as_received_and_a_batch_that_came_again_as_duplicate(tmp_path: Path) -> None:
    store, before = Store(), ledger()

    async def commit_and_die(batch: Batch) -> None:
        store.rows += numbers(batch.requests)
        await asyncio.Event().wait()

    async with opened(tmp_path) as spool:
        await spool.append(requests(1, 2, 3), AT)
        task = asyncio.create_task(spool.replay(commit_and_die))
        await until(lambda: bool(store.rows))
        task.cancel()
    assert {"received": 3, "pending": 3} == change(before)
    telemetry.SPANS_PENDING.dec(3)  # a new process begins at zero
    restarted = ledger()
    async with opened(tmp_path) as spool:
        assert {"received": 3, "pending": 3} == change(restarted)
        async with replaying(spool, store):
            await until(lambda: not change(restarted).get("pending"))
    assert {"received": 3, "duplicate": 3} == change(restarted)


async def test_full_spool_refuses_every_body_of_the_fsync_and_counts_none(tmp_path: Path) -> None:
    before = ledger()
    async with opened(tmp_path, largest_bytes=100) as spool:
        results = await asyncio.gather(*(spool.append(requests(one), AT) for one in range(3)), return_exceptions=True)
    assert [Overloaded] * 3 == [type(result) for result in results]
    assert {} == change(before)


async def test_too_much_waiting_for_the_disk_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, largest_pending=10) as spool:
        first = asyncio.create_task(spool.append(requests(*range(8)), AT))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="8 spans wait"):
            await spool.append(requests(*range(3)), AT)
        await first


async def test_sender_that_leaves_does_not_take_its_requests_back(tmp_path: Path) -> None:
    store, before = Store(), ledger()
    async with opened(tmp_path) as spool:
        leaving = asyncio.create_task(spool.append(requests(1), AT))
        await asyncio.sleep(0)
        leaving.cancel()
        await spool.append(requests(2), AT)
        async with replaying(spool, store):
            await until(lambda: len(store.rows) == 2)
    assert {"received": 2, "rows": 2} == change(before)


async def test_postgres_that_stays_away_is_asked_ever_more_rarely_and_then_at_once_told_everything(tmp_path: Path) -> None:
    store, clock = Store(), Clock()
    async with opened(tmp_path, clock) as spool:
        assert spool.store_away  # nobody has seen it yet
        store.away = True
        await spool.append(requests(1), AT)
        async with replaying(spool, store):
            await until(lambda: store.calls == 8)
            assert spool.store_away
            store.away = False
            await until(lambda: not spool.store_away)
    assert [FIRST_BACKOFF_SECONDS * 2**number for number in range(5)] == clock.slept[:5]
    assert LONGEST_BACKOFF_SECONDS == max(clock.slept)
    assert [1] == store.rows


async def test_live_requests_go_to_postgres_again_after_an_append_that_failed(tmp_path: Path) -> None:
    async with opened(tmp_path, largest_bytes=100) as spool, replaying(spool, Store()):
        await until(lambda: not spool.store_away)
        with pytest.raises(Overloaded):
            await spool.append(requests(1), AT)
        await until(lambda: not spool.store_away)


async def test_request_that_postgres_does_not_take_is_set_aside_alone(tmp_path: Path) -> None:
    store, before = Store(), ledger()
    store.poison = {3, 8}
    async with opened(tmp_path) as spool:
        await spool.append(requests(*range(10)), AT)
        async with replaying(spool, store):
            await until(lambda: not change(before).get("pending"))
    assert [0, 1, 2, 4, 5, 6, 7, 9] == store.rows
    assert {"received": 10, "rows": 8, "rejected": 2} == change(before)
    assert 1 == len(list(tmp_path.glob("0/*.unstorable")))


async def test_unexpected_fault_of_a_delivery_is_counted_and_the_batch_is_tried_again(tmp_path: Path) -> None:
    store, faults = Store(), [RuntimeError("once"), KeyError("twice")]
    before = REGISTRY.get_sample_value("llm_slo_loop_errors_total", {"loop": "spool"}) or 0

    async def deliver(batch: Batch) -> None:
        if faults:
            raise faults.pop()
        await store.deliver(batch)

    async with opened(tmp_path) as spool:
        await spool.append(requests(1), AT)
        task = asyncio.create_task(spool.replay(deliver))
        await until(lambda: store.rows == [1])
        task.cancel()
    assert before + 2 == REGISTRY.get_sample_value("llm_slo_loop_errors_total", {"loop": "spool"})


async def test_damaged_record_counts_as_rejected(tmp_path: Path) -> None:
    store, before = Store(), ledger()
    async with opened(tmp_path) as spool:
        await spool.append(requests(1), AT)
        await spool.append(requests(2), AT)
        (path,) = tmp_path.glob("0/*.segment")
        content = bytearray(path.read_bytes())
        content[40] ^= 1
        path.write_bytes(content)
        async with replaying(spool, store):
            await until(lambda: not change(before).get("pending"))
    assert {"received": 2, "rows": 1, "rejected": 1} == change(before)


async def test_requests_of_a_dead_worker_are_delivered_by_a_living_one(tmp_path: Path) -> None:
    store, before = Store(), ledger()
    async with opened(tmp_path) as living:
        async with opened(tmp_path) as dead:
            await dead.append(requests(1, 2), AT)
        async with replaying(living, store):
            await living.adopt()
            await until(lambda: len(store.rows) == 2)
    assert {"received": 4, "rows": 2, "pending": 2} == change(before)  # the dead one's own counts died with it


async def test_pause_follows_each_batch(tmp_path: Path) -> None:
    store, clock = Store(), Clock()
    async with opened(tmp_path, clock) as spool:
        for minute in range(3):
            await spool.append(requests(minute), AT + timedelta(minutes=minute))
        async with replaying(spool, store):
            await until(lambda: len(clock.slept) == 3)
    assert 3 == len(store.batches)
    assert all(seconds > 0 for seconds in clock.slept)
