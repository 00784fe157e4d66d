"""What tests on the demo ask it, and wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from collector.spool.frame import Kind, scan
from collector.spool.record import decode
from demo import traffic
from demo.stage import Demo
from demo.tenant import keys_by_tenant, read_directory


async def until(seconds: float, what: Callable[[], Awaitable[Any]], missing: str) -> Any:
    """The first answer that is something. Real processes keep real time, so this waits for them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = await what()
        if answer:
            return answer
        await asyncio.sleep(0.1)
    pytest.fail(f"after {seconds:.0f} s: {missing}")


async def query(demo: Demo, statement: str, *parameters: object) -> list[dict[str, Any]]:
    """Rows of the demo's database."""
    async with await psycopg.AsyncConnection.connect(demo.conninfo, row_factory=dict_row) as connection:
        cursor = await connection.execute(statement, parameters)
        return await cursor.fetchall()


async def rows_of(demo: Demo, table: str, since: datetime) -> dict[str, dict[str, Any]]:
    """Rows of the gateway or the engine since a time, by trace id."""
    found = await query(demo, f"SELECT *, encode(trace_id, 'hex') AS trace FROM {table} WHERE ended_at > %s", since)
    return {row["trace"]: row for row in found}


@asynccontextmanager
async def clients(demo: Demo, *, seed: int, rate: float = 3.0) -> AsyncIterator[None]:
    """Traffic while the block lasts, recorded as that of ``llm-slo demo run``; its last answers are waited for."""
    stop = asyncio.Event()
    keys = keys_by_tenant(read_directory(demo.keys_file))
    sending = asyncio.create_task(traffic.run(demo.gateway_url, keys, rate=rate, stop=stop, record=demo.record, seed=seed))
    try:
        yield
    finally:
        stop.set()
        await sending


def alert_told(demo: Demo, name: str, status: str, since: float) -> tuple[float, dict[str, Any]] | None:
    """The first time that the pager was told of an alert after a time [s since the epoch], and what it was told."""
    for notification in demo.pager.notifications:
        for alert in notification["alerts"]:
            told = float(notification["received"])
            if told >= since and (alert["labels"]["alertname"], alert["status"]) == (name, status):
                return told, dict(alert)
    return None


def spooled(demo: Demo) -> tuple[int, str]:
    """How many requests are in the spool, and everything that is written about them."""
    count, text = 0, ""
    for segment in sorted((demo.config.data_dir / "spool").rglob("*.segment")):
        data = segment.read_bytes()
        text += data.decode(errors="replace")
        for piece in scan(data):
            if piece.kind is Kind.RECORD and piece.header is not None:
                requests = decode(piece.header.version, piece.payload)
                count, text = count + len(requests), text + repr(requests)
    return count, text


def files_with(demo: Demo, word: str) -> list[Path]:
    """Files of the daemon and the gateway that hold a word: database, spool, logs. vLLM's own log is none of them."""
    places = [*demo.config.data_dir.rglob("*"), demo.directory / "llm-slo.log", demo.directory / "gateway.log"]
    return [path for path in places if path.is_file() and word.encode() in path.read_bytes()]
