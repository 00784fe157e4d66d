"""Whether the daemon kept what it acknowledged, as counted by three who do not know of each other: the collector at /metrics,
Postgres by its rows, and the clients by what they saw."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection

from collector.reads.live import count_rows, known_traces
from collector.request import ObservedBy
from demo.order import BrokenPromise, CannotBreak, Progress
from demo.state import RECORD, State
from demo.vitals import CollectorVitals, read_vitals

Result = TypeVar("Result")

_POLL_SECONDS = 0.1
_STILL_SECONDS = 60.0
_REPLAYED_SECONDS = 900.0
_ANSWERS_SECONDS = 120.0
_ARRIVED_SECONDS = 120.0
"""Longer than a sender waits when it is told to come again later."""


class Balance(NamedTuple):
    """The collector's counts and the rows in Postgres, at one moment at which nothing was under way."""

    collector: CollectorVitals
    rows: int


async def read_collector(state: State) -> CollectorVitals | None:
    """What the collector says of itself now."""
    return (await read_vitals(state.collector_url, state.alerter_url)).collector


async def strike_balance(state: State) -> Balance:
    """Wait for a moment at which nothing is under way. Raises CannotBreak where there is none within a minute."""

    async def still() -> Balance | None:
        before = await read_collector(state)
        async with await AsyncConnection.connect(state.conninfo, autocommit=True) as connection:
            rows = await count_rows(connection)
        after = await read_collector(state)
        quiet = before is not None and after is not None and (before.settled, 0) == (after.settled, after.pending)
        return Balance(after, rows) if quiet and after is not None else None

    balance = await _until(still, _STILL_SECONDS)
    if balance is None:
        raise CannotBreak(f"there was no quiet moment within {_STILL_SECONDS:.0f} s to count rows in")
    return balance


async def watch_replay(state: State, progress: Progress) -> None:
    """Wait until Postgres answers again, and until what waits in the spool is in it. Raises BrokenPromise where it is not."""

    async def answers() -> bool:
        async with await AsyncConnection.connect(state.conninfo):
            return True

    begun = time.monotonic()
    if not await _until(answers, _ANSWERS_SECONDS):
        raise BrokenPromise(f"Postgres does not answer {_ANSWERS_SECONDS:.0f} s after it may be started again")
    back, first = time.monotonic(), await read_collector(state)
    waiting = f"{first.pending} spans wait" if first is not None else "the collector does not answer"
    progress(f"Postgres answers again after {back - begun:.1f} s; {waiting}")

    async def empty() -> CollectorVitals | None:
        now = await read_collector(state)
        return now if now is not None and (now.pending, now.spool_bytes) == (0, 0) else None

    last = await _until(empty, _REPLAYED_SECONDS)
    if last is None:
        raise BrokenPromise(f"the spool is not empty after {_REPLAYED_SECONDS:.0f} s")
    progress(f"replayed in {time.monotonic() - back:.1f} s{_commits(first, last)}")


def compare(before: Balance, after: Balance) -> str:
    """What was acknowledged between two balances and what became of it. Raises BrokenPromise where something is missing."""
    old, new = before.collector, after.collector
    if old.started != new.started:
        return "the collector was started again meanwhile, so its counts cannot be compared"
    received = new.received - old.received
    settled = {name: count - old.settled[name] for name, count in new.settled.items()}
    stored = after.rows - before.rows
    became = ", ".join(f"{count} {name}" for name, count in settled.items() if count)
    said = f"acknowledged {received} spans ({became or 'nothing'}); {stored} rows stored; {new.refused - old.refused} refused"
    if new.missing or received != sum(settled.values()) or settled["rows"] != stored:
        raise BrokenPromise(f"something is missing: {said}")
    return said


async def find_calls(state: State, directory: Path, since: float, until: float) -> int:
    """Wait until every call that the clients saw end within a time [s since the epoch] has its row. Returns how many calls.

    Raises BrokenPromise where one has none.
    """
    calls = seen_between(directory / RECORD, since, until)

    async def found() -> bool:
        async with await AsyncConnection.connect(state.conninfo, autocommit=True) as connection:
            # A gateway ends its span a moment before or after its caller has the answer.
            return calls <= await known_traces(connection, datetime.fromtimestamp(since - 60, UTC), ObservedBy.GATEWAY)

    if calls and not await _until(found, _ARRIVED_SECONDS):
        raise BrokenPromise(f"of {len(calls)} calls that clients saw meanwhile, some have no row")
    return len(calls)


def seen_between(record: Path, since: float, until: float) -> set[str]:
    """Trace ids of the calls in a clients' record that ended within a time [s since the epoch]."""
    if not record.exists():
        return set()
    # The last line may be half written.
    lines = record.read_text().rpartition("\n")[0].splitlines()
    return {call["trace_id"] for call in map(json.loads, lines) if since <= call["ended"] <= until}


def _commits(first: CollectorVitals | None, last: CollectorVitals) -> str:
    count = last.commits - first.commits if first is not None and first.started == last.started else 0
    if first is None or not count:
        return ""
    mean = (last.commit_seconds - first.commit_seconds) / count
    return f", beside live traffic: {count} commits took {mean * 1000:.0f} ms on average"


async def _until(what: Callable[[], Awaitable[Result]], seconds: float) -> Result | None:
    """The first answer that is something, or None after some seconds. A database that is away is no answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            answer = await what()
            if answer:
                return answer
        await asyncio.sleep(_POLL_SECONDS)
    return None
