"""Faults of what the daemon stands on, with a real Postgres, a real limit of the kernel, and the demo's own pager."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from collector import postgres
from demo import outage
from demo.engine import free_port
from demo.order import BrokenPromise, CannotBreak, Order
from demo.outage import disk_full, postgres_stopped, stop_sink
from demo.pager import Pager
from tests.demo.example import demo_state
from tests.server import temporary

# Stands in for a collector: writes to the file when it is asked, and says whether that went well.
COLLECTOR = """
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[1], "wb") as file:
            file.write(b"x")
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", COLLECTOR, str(tmp_path / "file"), "collector"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("write\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_full_disk_refuses_the_collector_every_write_until_it_is_over(collector: subprocess.Popen[str]) -> None:
    answers = [ask(collector)]
    with disk_full(os.getpid()):
        answers += [ask(collector), ask(collector)]
    answers.append(ask(collector))
    assert ["written", "File too large", "File too large", "written"] == answers


def test_collector_that_died_of_the_full_disk_is_a_broken_promise(collector: subprocess.Popen[str]) -> None:
    with ExitStack() as stack:
        stack.enter_context(disk_full(os.getpid()))
        collector.kill()
        collector.wait()
        with pytest.raises(BrokenPromise, match="ended"):
            stack.close()


def test_disk_of_no_collector_cannot_be_full() -> None:
    with pytest.raises(CannotBreak, match="does not run"), disk_full(os.getpid()):
        pass


def test_nobody_starts_postgres_again_before_it_is_over() -> None:
    started = threading.Event()
    with temporary() as server:

        def start() -> None:
            with postgres.start(server.data_dir):
                started.set()

        starter = threading.Thread(target=start)
        with postgres_stopped(server.data_dir, 1):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(server.conninfo)
            starter.start()
            assert not started.wait(0.5)
        starter.join()
        assert started.is_set()


@pytest.mark.parametrize(("seconds", "reason"), [(1.0, "no Postgres runs"), (301.0, "300 s at most")])
def test_postgres_that_cannot_be_stopped_is_said_why(tmp_path: Path, seconds: float, reason: str) -> None:
    with pytest.raises(CannotBreak, match=reason), postgres_stopped(tmp_path, seconds):
        pass


async def test_pager_is_up_again_and_the_outbox_empty_when_sink_down_is_over(database: str, tmp_path: Path) -> None:
    pager, port = Pager(tmp_path / "pages.jsonl"), free_port()
    said: list[str] = []
    state = demo_state(tmp_path, pager_url=f"http://127.0.0.1:{port}")._replace(conninfo=database)
    async with pager.serve(port):
        await asyncio.to_thread(stop_sink, Order(state, tmp_path, state.replicas[0], 0.1, said.append))
    assert "the pager is up again; it refused 0 attempts" in said
    assert "nothing waits in the outbox" in said[-1]


async def test_notification_that_does_not_come_is_a_broken_promise(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "_DELIVERED_SECONDS", 0.2)
    now = datetime.now(UTC)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO outbox (fingerprint, starts_at, revision, status, sink, payload, created_at, attempts,"
            " next_attempt_at) VALUES ('f', %s, 0, 'firing', 'pager', '{}', %s, 1, %s)",
            (now, now, now),
        )
    pager, port = Pager(tmp_path / "pages.jsonl"), free_port()
    state = demo_state(tmp_path, pager_url=f"http://127.0.0.1:{port}")._replace(conninfo=database)
    async with pager.serve(port):
        with pytest.raises(BrokenPromise, match="1 notifications are not delivered"):
            await asyncio.to_thread(stop_sink, Order(state, tmp_path, state.replicas[0], 0.1, lambda line: None))
