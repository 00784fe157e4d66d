"""Collectors without sockets: what is sent to them, what they close, and what is in the database then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import REGISTRY
from psycopg import AsyncConnection

from collector.batch import Batcher
from collector.close import QUIET, Closer
from collector.config import Attributes
from collector.ingest import Ingest, Replayed
from collector.normalise import Policy
from collector.otlp.allow import Decoded
from collector.span import Span
from collector.spool import Spool
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fragment import FragmentStore
from collector.store.request import RequestStore
from collector.token import ANONYMOUS, Principal
from collector.waitlist import Waitlist
from tests.collector.example import OBJECTIVES, rows

POLICY = Policy(
    retention=timedelta(days=1000),
    engine_retention=timedelta(days=1000),
    clock_skew=timedelta(days=1000),
    cluster="default",
    environment="production",
    attributes=Attributes(),
)
LEDGER = ("rows", "merged", "ignored", "duplicate", "rejected", "pending")


class Clock:
    """A time that stands still until it is told to go on."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Site(NamedTuple):
    """One collector."""

    ingest: Ingest
    close: Closer
    spool: Spool
    deliver: Replayed
    waitlist: Waitlist
    store: RequestStore

    async def send(self, *spans: Span, tenant: str | None = None) -> None:
        """One body."""
        principal = ANONYMOUS if tenant is None else Principal(tenant)
        await self.ingest(Decoded(list(spans), []), principal)


@asynccontextmanager
async def running(
    conninfo: str, clock: Clock, directory: Path, *, policy: Policy = POLICY, largest_waiting: int = 100_000
) -> AsyncIterator[Site]:
    """A collector whose Postgres is there, as far as it knows."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(conninfo, application="test", timeout_seconds=1))
        dictionary = Dictionary(database)
        store = RequestStore(database, dictionary)
        batcher = Batcher(store, largest_pending=100_000, now=clock)
        spool = await stack.enter_async_context(
            Spool(directory, largest_bytes=2**20, longest_age=timedelta(hours=24), largest_pending=1000, now=clock)
        )
        waitlist = Waitlist(largest_waiting)
        fragments = FragmentStore(database)
        deliver = Replayed(RequestStore(database, dictionary), waitlist, OBJECTIVES, clock)
        committing = asyncio.create_task(batcher.run())
        stack.callback(committing.cancel)
        replaying = asyncio.create_task(spool.replay(deliver))
        stack.callback(replaying.cancel)
        while spool.store_away:  # noqa: ASYNC110 - until replay has found nothing to do
            await asyncio.sleep(0)
        closed = RequestStore(database, dictionary)
        shared: dict[str, Any] = {"policy": policy, "objectives": OBJECTIVES, "now": clock}
        yield Site(
            Ingest(batcher, spool, fragments, waitlist, **shared),
            Closer(fragments, closed, waitlist, **shared),
            spool,
            deliver,
            waitlist,
            closed,
        )


def ledger() -> dict[str, float]:
    """The sums over all labels of the counters of spans."""
    sums: dict[str, float] = {}
    for family in REGISTRY.collect():
        if family.name.startswith("llm_slo_spans_"):
            values = (sample.value for sample in family.samples if not sample.name.endswith("_created"))
            sums[family.name.removeprefix("llm_slo_spans_")] = sum(values)
    return sums


def counted(before: dict[str, float]) -> dict[str, float]:
    """What was added to the ledger. Fails where it does not balance."""
    change = {name: value - before[name] for name, value in ledger().items()}
    assert change["received"] == sum(change[name] for name in LEDGER)
    return {name: change[name] for name in LEDGER if change[name]}


async def wait(clock: Clock, look: AsyncConnection[Any], by: timedelta = QUIET + timedelta(seconds=1)) -> None:
    """Let time go on, here and in the database; unless told otherwise, for long enough that everything is quiet."""
    clock.at += by
    await look.execute("UPDATE fragments SET received_at = received_at - %s", (by,))


async def kept(look: AsyncConnection[Any]) -> list[str]:
    """The rows that there are, by the names of their spans."""
    return sorted(bytes(row[0]).decode().rstrip(".") for row in await rows(look, "requests", "span_id"))


async def waiting(look: AsyncConnection[Any]) -> list[str]:
    """The spans that wait, by their names."""
    return sorted(bytes(row[0]).decode().rstrip(".") for row in await rows(look, "fragments", "span_id"))
