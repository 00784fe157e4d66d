from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import cast

import pytest
from psycopg import DataError

from collector.batch import LARGEST_BATCH, Batcher
from collector.errors import Overloaded, StoreUnavailable, Unstorable
from collector.fragment import Fragment
from collector.request import ObservedBy
from collector.store.request import Judged, RequestStore, Written
from tests.collector.example import judged, now, request

AT = now()


class Gate:
    """Stands in for the store: commits when it is let, and fails as it is told."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Judged]] = []
        self.open = asyncio.Event()
        self.fail: Exception | None = None
        self.poison: Judged | None = None

    async def write(self, batch: Sequence[Judged], received_at: datetime, fragments: Sequence[Fragment] = ()) -> Written:
        await self.open.wait()
        if self.fail is not None:
            raise self.fail
        if self.poison in batch:
            raise DataError("no such value")
        self.batches.append(batch)
        return Written(Counter({ObservedBy.GATEWAY: len(batch)}), 0)


@asynccontextmanager
async def running(gate: Gate, largest_pending: int = 100_000) -> AsyncIterator[Batcher]:
    batcher = Batcher(cast(RequestStore, gate), largest_pending=largest_pending, now=now)
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        task.cancel()


def body(start: int, size: int = 1) -> list[Judged]:
    return judged([request(number, AT) for number in range(start, start + size)])


async def submit_all(batcher: Batcher, bodies: Sequence[Sequence[Judged]]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(batcher.submit(one)) for one in bodies]
    await asyncio.sleep(0)  # let each task reach its wait
    return tasks


async def test_bodies_that_wait_share_the_next_transaction() -> None:
    gate = Gate()
    async with running(gate) as batcher:
        first = await submit_all(batcher, [body(0)])
        await asyncio.sleep(0)
        rest = await submit_all(batcher, [body(1), body(2), body(3)])
        gate.open.set()
        await asyncio.gather(*first, *rest)
    assert [1, 3] == [len(batch) for batch in gate.batches]


async def test_transaction_has_a_largest_size_and_a_larger_body_its_own() -> None:
    gate = Gate()
    gate.open.set()
    async with running(gate) as batcher:
        await asyncio.gather(
            *await submit_all(batcher, [body(0, LARGEST_BATCH), body(10_000, 5), body(20_000, LARGEST_BATCH + 1)])
        )
    assert [LARGEST_BATCH, 5, LARGEST_BATCH + 1] == [len(batch) for batch in gate.batches]


async def test_too_much_waiting_is_refused_and_what_waits_is_kept() -> None:
    gate = Gate()
    async with running(gate, largest_pending=10) as batcher:
        waiting = await submit_all(batcher, [body(0, 8)])
        with pytest.raises(Overloaded, match="8 spans wait"):
            await batcher.submit(body(100, 3))
        gate.open.set()
        await asyncio.gather(*waiting)
        await batcher.submit(body(200, 3))
    assert [8, 3] == [len(batch) for batch in gate.batches]


async def test_every_body_of_a_failed_transaction_is_told() -> None:
    gate = Gate()
    gate.fail = StoreUnavailable("Postgres did not commit", 2)
    gate.open.set()
    async with running(gate) as batcher:
        results = await asyncio.gather(*await submit_all(batcher, [body(0), body(1)]), return_exceptions=True)
        gate.fail = None
        await batcher.submit(body(2))
    assert [StoreUnavailable, StoreUnavailable] == [type(result) for result in results]
    assert [1] == [len(batch) for batch in gate.batches]


async def test_a_fault_that_nobody_foresaw_is_told_and_does_not_end_the_batcher() -> None:
    gate = Gate()
    gate.open.set()
    gate.fail = KeyError("a fault of ours")
    async with running(gate) as batcher:
        with pytest.raises(Unstorable):
            await batcher.submit(body(0))
        gate.fail = None
        await batcher.submit(body(1))
        # What failed is no longer counted as waiting either.
        await batcher.submit(body(2))
    assert 2 == len(gate.batches)


async def test_body_that_cannot_be_stored_costs_its_own_sender_only() -> None:
    gate = Gate()
    bodies = [body(number) for number in range(3)]
    gate.poison = bodies[1][0]
    async with running(gate) as batcher:
        tasks = await submit_all(batcher, bodies)
        gate.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(None), Unstorable, type(None)] == [type(result) for result in results]
    assert [bodies[0], bodies[2]] == [list(batch) for batch in gate.batches]


async def test_sender_that_leaves_does_not_take_its_rows_back() -> None:
    gate = Gate()
    async with running(gate) as batcher:
        leaving, staying = await submit_all(batcher, [body(0), body(1)])
        leaving.cancel()
        gate.open.set()
        await staying
    assert 2 == sum(len(batch) for batch in gate.batches)
