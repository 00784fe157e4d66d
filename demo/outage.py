"""Faults of what the daemon stands on: its Postgres, its disk, its pager. Each ends with the command that causes it.

Even with one that is killed, except for the full disk: that ends with the next collector then.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import aiohttp
from psycopg import AsyncConnection

from collector.postgres import server_account
from collector.postgres.lock import exclusive
from collector.postgres.process import postmaster, servers
from collector.reads.live import undelivered
from demo.order import BrokenPromise, CannotBreak, Order
from demo.pager import DOWN
from demo.process_tree import descendants, title
from demo.recovery import compare, find_calls, read_collector, strike_balance, watch_replay
from demo.state import State

POSTGRES_SECONDS = 60.0
SINK_SECONDS = 60.0
DISK_SECONDS = 30.0
LONGEST_SECONDS = 300.0
"""Of an outage of Postgres: `llm-slo up` gives up when it may not start it for longer."""
_SAID_SECONDS = 10.0
_STOPPED_SECONDS = 30.0
_POLL_SECONDS = 0.1
_DELIVERED_SECONDS = 120.0
"""Longer than the longest pause between two attempts to deliver."""


def stop_postgres(order: Order) -> None:
    """Stop the daemon's Postgres as a crash does, and keep it stopped; then see that nothing acknowledged is missing."""
    seconds = order.seconds or POSTGRES_SECONDS
    order.progress(f"stopping the daemon's Postgres for {seconds:.0f} s: spans go into the spool")
    asyncio.run(_outage(order, seconds, [postgres_stopped(Path(order.state.data_dir), seconds)]))


def fill_disk(order: Order) -> None:
    """While Postgres is stopped, let the collector write to no file: the spool cannot take spans, and senders must wait."""
    seconds = order.seconds or DISK_SECONDS
    order.progress(
        f"stopping the daemon's Postgres for {seconds:.0f} s, and refusing the collector every write to a file "
        f"(RLIMIT_FSIZE), as a full disk does: senders get 503 with Retry-After and keep their spans"
    )
    asyncio.run(
        _outage(order, seconds, [postgres_stopped(Path(order.state.data_dir), seconds), disk_full(order.state.daemon_pid)])
    )


def stop_sink(order: Order) -> None:
    """Let the pager answer 503; what is to be told waits in the outbox, and comes afterwards."""
    asyncio.run(_stop_sink(order, order.seconds or SINK_SECONDS))


async def _outage(order: Order, seconds: float, faults: list[AbstractContextManager[None]]) -> None:
    state = order.state
    before = await strike_balance(state)
    began = time.time()
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault)
        await _say_meanwhile(order, seconds)
    ended = time.time()
    await watch_replay(state, order.progress)
    calls = await find_calls(state, order.directory, began, ended)
    order.progress(compare(before, await strike_balance(state)))
    order.progress(f"all {calls} calls that clients saw end meanwhile have their row: nothing was lost")


async def _say_meanwhile(order: Order, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, _SAID_SECONDS))
        now = await read_collector(order.state)
        if now is not None:
            order.progress(f"{now.pending} spans wait in the spool ({now.spool_bytes} bytes), {now.refused} refused so far")


@contextmanager
def postgres_stopped(data_dir: Path, seconds: float) -> Iterator[None]:
    """Stop an embedded Postgres at once, as ``pg_ctl stop -m immediate`` does, and hold the lock without which nobody starts it
    again. ``seconds`` is how long the block will last. Raises CannotBreak."""
    if seconds > LONGEST_SECONDS:
        raise CannotBreak(f"Postgres can be stopped for {LONGEST_SECONDS:.0f} s at most")
    account = server_account()
    with exclusive(data_dir / "start.lock"):
        running = postmaster(data_dir / "postgres", account)
        if running is None:
            raise CannotBreak(f"no Postgres runs in {data_dir}")
        os.kill(running.pid, signal.SIGQUIT)
        deadline = time.monotonic() + _STOPPED_SECONDS
        while servers(data_dir / "postgres", account):
            if time.monotonic() > deadline:
                raise CannotBreak(f"the Postgres of {data_dir} does not stop")
            time.sleep(_POLL_SECONDS)
        yield


@contextmanager
def disk_full(daemon_pid: int) -> Iterator[None]:
    """The kernel refuses each write of the collector below ``llm-slo up`` to a file: it would grow beyond the limit."""
    pid = next((pid for pid in descendants(daemon_pid) if "collector" in title(pid).split()), None)
    if pid is None:
        raise CannotBreak("the collector does not run")
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        try:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        except ProcessLookupError:
            raise BrokenPromise("the collector ended while its disk was full") from None


async def _stop_sink(order: Order, seconds: float) -> None:
    before = await _pager_down(order.state, seconds)
    order.progress(
        f"the pager answers 503 for {seconds:.0f} s; break something else meanwhile, and its page waits in the outbox"
    )
    try:
        await asyncio.sleep(seconds)
    finally:
        after = await _pager_down(order.state, 0)
    order.progress(f"the pager is up again; it refused {after['refused'] - before['refused']} attempts")
    deadline = time.monotonic() + _DELIVERED_SECONDS
    while waiting := await _waiting(order.state):
        if time.monotonic() > deadline:
            raise BrokenPromise(f"{waiting} notifications are not delivered after {_DELIVERED_SECONDS:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)
    last = await _pager_down(order.state, 0)
    order.progress(f"nothing waits in the outbox; it took {last['taken'] - after['taken']} notifications since it is up again")


async def _pager_down(state: State, seconds: float) -> dict[str, int]:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(f"{state.pager_url}{DOWN}", params={"seconds": seconds}) as response,
    ):
        answer: dict[str, int] = await response.json()
        return answer


async def _waiting(state: State) -> int:
    async with await AsyncConnection.connect(state.conninfo, autocommit=True) as connection:
        return sum(sink.count for sink in await undelivered(connection))
