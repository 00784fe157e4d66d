"""``llm-slo up`` as a whole: three processes on an embedded Postgres, and what a kill -9 leaves of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo

from collector.postgres.directory import DATABASE, ROLE
from tests.collector.example import rows
from tests.collector.otlp_body import body, chat_span
from tests.collector.port import free_address
from tests.process import PARTS, ledger, send_until_acknowledged, until

BODY_SPANS = 20
LISTENERS = ("otlp_grpc", "otlp_http", "web", "alerter")


@pytest.fixture
def configuration(tmp_path: Path) -> Iterator[Path]:
    """A configuration file with free ports, and with a data directory whose parents the server's account can pass."""
    with tempfile.TemporaryDirectory(prefix="llm-slo-up-", ignore_cleanup_errors=True) as data_dir:
        path = tmp_path / "llm-slo.yaml"
        listen = {name: free_address() for name in LISTENERS}
        path.write_text(yaml.safe_dump({"data_dir": data_dir, "listen": listen}))
        yield path


@contextmanager
def up(configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "llm_slo", "up", "--config", str(configuration)])
    try:
        yield process
    finally:
        process.terminate()
        assert 0 == process.wait(60)


@asynccontextmanager
async def ready(configuration: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, dict[str, str]]]:
    listen = yaml.safe_load(configuration.read_text())["listen"]
    async with aiohttp.ClientSession() as session:

        async def is_ready() -> bool:
            async with session.get(f"http://{listen['web']}/readyz") as response:
                return response.status == 200

        await until(is_ready)
        yield session, listen


async def test_every_acknowledged_span_is_there_once_after_kill_9_of_the_collector_under_load(configuration: Path) -> None:
    at = datetime.now(UTC) - timedelta(minutes=1)
    bodies = [
        body(chat_span(number, at + timedelta(microseconds=number)) for number in range(start, start + BODY_SPANS))
        for start in range(0, 200 * BODY_SPANS, BODY_SPANS)
    ]
    with up(configuration):
        async with ready(configuration) as (session, listen):
            url = f"http://{listen['otlp_http']}/v1/traces"
            killed: list[int] = []

            async def send(part: list[bytes]) -> None:
                for number, data in enumerate(part):
                    if number == len(part) // 2 and not killed:
                        killed.append(await collector_pid(configuration))
                        os.kill(killed[0], signal.SIGKILL)
                    await send_until_acknowledged(session, url, data)

            await asyncio.gather(*(send(bodies[offset::8]) for offset in range(8)))

            async def replayed() -> bool:
                return (await ledger(session, listen["web"]))["pending"] == 0

            assert await until(replayed)
            async with await connect(configuration) as connection:
                spans = len(bodies) * BODY_SPANS
                assert [(spans, spans)] == await rows(connection, "requests", "count(*), count(DISTINCT span_id)")
                cursor = await connection.execute("SELECT sum(good + bad) FROM pulses JOIN streams ON streams.id = stream_id")
                assert [(2 * spans,)] == await cursor.fetchall(), "one verdict of each built-in SLO"
            sums = await ledger(session, listen["web"])
            assert sums["received"] == sum(sums[part] for part in PARTS) > 0
            assert killed != [await collector_pid(configuration)]


async def test_nothing_is_left_running_and_the_data_is_there_at_the_next_start(configuration: Path) -> None:
    data = body([chat_span(1, datetime.now(UTC))])
    with up(configuration):
        async with ready(configuration) as (session, listen):
            await send_until_acknowledged(session, f"http://{listen['otlp_http']}/v1/traces", data)
    with pytest.raises(psycopg.OperationalError):
        await connect(configuration)
    with up(configuration):
        async with ready(configuration), await connect(configuration) as connection:
            assert [(1,)] == await rows(connection, "requests", "count(*)")


async def test_children_end_with_a_supervisor_that_was_killed(configuration: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "llm_slo", "up", "--config", str(configuration)])
    async with ready(configuration) as (session, listen):
        process.kill()
        process.wait()

        async def gone() -> bool:
            try:
                async with session.get(f"http://{listen['web']}/healthz"):
                    return False
            except aiohttp.ClientConnectorError:
                return True

        assert await until(gone)
    # The server outlives its supervisor; the next start uses it and stops it.
    with up(configuration):
        async with ready(configuration):
            pass
    with pytest.raises(psycopg.OperationalError):
        await connect(configuration)


async def connect(configuration: Path) -> psycopg.AsyncConnection[Any]:
    data_dir = Path(yaml.safe_load(configuration.read_text())["data_dir"])
    return await psycopg.AsyncConnection.connect(make_conninfo(host=str(data_dir / "run"), user=ROLE, dbname=DATABASE))


async def collector_pid(configuration: Path) -> int:
    async with await connect(configuration) as connection:

        async def newest() -> Any:
            cursor = await connection.execute("SELECT name FROM collectors ORDER BY started_at DESC LIMIT 1")
            return await cursor.fetchone()

        (name,) = await until(newest)
        return int(name.rpartition(":")[2])
