"""The leader among three alerters is killed at each step around a send."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import yaml

from collector.sample import Health
from tests.alerts.duty import duty
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, config_of, scene
from tests.alerts.test_daemon import until
from tests.alerts.victim import STEPS
from tests.stopwatch import stopwatch

HAND_OVER_SECONDS = 5.0
"""What is promised, on a machine that has a processor to spare for it."""


class Alerter:
    """A process that says what it does, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[str] = []

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said.append(line.decode().strip())

    def freeze(self) -> None:
        """Stop it where it is, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        """With SIGKILL: it may do nothing more."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def alerter(config: Path, conninfo: str, *steps: str) -> AsyncIterator[Alerter]:
    """An alerter that is killed when the block ends, if not before."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.alerts.victim", str(config), conninfo, *steps), stdout=asyncio.subprocess.PIPE
    )
    one = Alerter(process)
    listening = asyncio.create_task(one.listen())
    try:
        yield one
    finally:
        await one.kill()
        await listening


async def end(on: Scene, receiver: Receiver) -> None:
    """The end of the outage."""
    on.now = datetime.now(UTC)
    await on.replica("vllm-0", Health.READY)
    await on.collector_lives()
    await until(lambda: ("EngineDead", "resolved") in receiver.told)


@pytest.mark.parametrize("step", STEPS)
async def test_nothing_is_lost_whenever_the_leader_is_killed(database: str, tmp_path: Path, step: str) -> None:
    async with receiving() as receiver, scene(database, config_of(receiver.url)) as on, AsyncExitStack() as stack:
        path = tmp_path / "config.yaml"
        hook = {"name": "hook-0", "url": receiver.url, "timeout_seconds": 5}
        path.write_text(yaml.safe_dump({"sinks": {"webhooks": [hook]}}))
        leader = await stack.enter_async_context(alerter(path, database, step))
        await until(lambda: "leads" in leader.said)
        others = [await stack.enter_async_context(alerter(path, database)) for _ in range(2)]
        await wait_for_sessions(database, 3)

        on.now = datetime.now(UTC)
        await on.collector_lives()
        await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
        await until(lambda: step in leader.said)
        before = await on.execute("SELECT starts_at FROM alerts")
        await leader.kill()
        # Told once by each that had not yet marked it: the first may have died just then.
        firings = 2 if step == "before it is marked" else 1
        async with stopwatch() as watch:
            await until(lambda: len(receiver.told) == firings)
            assert watch.own_seconds < HAND_OVER_SECONDS
        # The page may be faster than the line that says who leads.
        await until(lambda: any("leads" in one.said for one in others))
        await end(on, receiver)

        assert firings * [("EngineDead", "firing")] + [("EngineDead", "resolved")] == receiver.told
        assert 1 == len({(alert["fingerprint"], alert["startsAt"]) for alert in receiver.alerts})
        ((starts_at,),) = await on.execute("SELECT starts_at FROM alerts")
        assert starts_at == datetime.fromisoformat(receiver.alerts[0]["startsAt"])
        assert before in ([], [(starts_at,)])
        await all_marked(on)


@pytest.mark.parametrize("step", ["before the transaction", "before the commit", "before it is marked"])
async def test_a_page_is_one_incident_whenever_the_leader_is_killed(database: str, tmp_path: Path, step: str) -> None:
    async with duty() as service, scene(database, config_of()) as on, AsyncExitStack() as stack:
        path, key = tmp_path / "config.yaml", tmp_path / "key"
        key.write_text("k")
        sink = {"name": "pd", "url": service.url, "routing_key_file": str(key)}
        path.write_text(yaml.safe_dump({"sinks": {"pagerduty": [sink]}}))
        leader = await stack.enter_async_context(alerter(path, database, step))
        await until(lambda: "leads" in leader.said)
        await stack.enter_async_context(alerter(path, database))
        await wait_for_sessions(database, 2)

        on.now = datetime.now(UTC)
        await on.collector_lives()
        await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
        await until(lambda: step in leader.said)
        await leader.kill()
        await until(lambda: len(service.events) == (2 if step == "before it is marked" else 1))
        on.now = datetime.now(UTC)
        await on.replica("vllm-0", Health.READY)
        await on.collector_lives()
        await until(lambda: service.opened == 1 and not service.open)
        await all_marked(on)

    assert 1 == service.opened


async def all_marked(on: Scene) -> None:
    """Until everything in the outbox is marked as delivered, which is done a moment after a sink was told."""
    async with asyncio.timeout(60):
        while await on.execute("SELECT FROM outbox WHERE delivered_at IS NULL"):  # noqa: ASYNC110 - it is a row that tells
            await asyncio.sleep(0.02)


async def test_a_leader_that_stands_still_is_followed_too(database: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{}")
    async with alerter(path, database) as leader:
        await until(lambda: "leads" in leader.said)
        async with alerter(path, database) as follower:
            await wait_for_sessions(database, 2)
            leader.freeze()
            async with stopwatch() as watch:
                await until(lambda: "leads" in follower.said)
                assert watch.own_seconds < HAND_OVER_SECONDS


async def test_a_leader_that_stands_still_inside_a_transaction_is_followed_too(database: str, tmp_path: Path) -> None:
    async with receiving() as receiver, scene(database, config_of(receiver.url)) as on:
        path = tmp_path / "config.yaml"
        path.write_text("{}")
        async with alerter(path, database, "before the commit") as leader:
            await until(lambda: "leads" in leader.said)
            async with alerter(path, database) as follower:
                await wait_for_sessions(database, 2)
                on.now = datetime.now(UTC)
                await on.collector_lives()
                await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
                await until(lambda: "before the commit" in leader.said)
                leader.freeze()
                async with stopwatch() as watch:
                    await until(lambda: "leads" in follower.said)
                    assert watch.own_seconds < HAND_OVER_SECONDS


async def wait_for_sessions(conninfo: str, number: int) -> None:
    """Until so many alerters have a session that could lead."""
    async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        while True:
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'llm-slo alerter'"
            )
            if (await cursor.fetchone()) == (number,):
                return
            await asyncio.sleep(0.02)
