"""Clients that take their time cost nobody else anything, and do not keep a collector from ending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from tests.chaos.conftest import Form
from tests.chaos.site import BURN, site
from tests.collector.otlp_body import body, chat_span

pytestmark = pytest.mark.chaos

SILENT = 200
DRIBBLING = 50
_HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: llm-slo\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"


async def dribble(host: str, port: int) -> None:
    """Send a body a byte at a time, for ever."""
    data = body([chat_span(0, datetime.now(UTC))])
    _, writer = await asyncio.open_connection(host, port)
    with suppress(OSError):
        writer.write(_HEAD % len(data))
        for byte in data[:-1]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)
    writer.close()


@asynccontextmanager
async def slow_clients(address: str) -> AsyncIterator[None]:
    """Connections that say nothing, and some that say little."""
    host, port = address.split(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(SILENT)]
    tasks = [asyncio.create_task(dribble(host, int(port))) for _ in range(DRIBBLING)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_slow_clients(database: str, tmp_path: Path, random: Random, form: Form) -> None:
    async with site(tmp_path, database, random) as on:
        collector = on.add_collector()
        on.add_alerter()
        await on.ready()
        async with slow_clients(on.urls[0].split("/")[2]):
            async with on.load() as load:
                await load.plant()
                await asyncio.sleep(form.seconds * form.faults)
                await on.told(BURN)
            assert load.bodies > 20
            await on.balanced(load, counted=True)
            # Faster than a supervisor's patience, although they are all still there.
            async with asyncio.timeout(15):
                assert 0 == await collector.stop()
