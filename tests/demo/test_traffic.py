from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import repeat
from pathlib import Path

import aiohttp
import pytest

from demo.client import Seen, call
from demo.engine import free_port
from demo.traffic import run, send
from demo.workload import CHAT, COMPLETIONS, TENANTS, Ask
from tests.demo.test_gateway import serve
from tests.demo.upstream import Upstream

KEYS = {tenant: f"sk-{tenant}" for tenant in TENANTS}


@pytest.fixture
async def url() -> AsyncIterator[str]:
    runner, url = await serve(Upstream().application())
    yield url
    await runner.cleanup()


async def seen(url: str, endpoint: str = CHAT, **body: object) -> Seen:
    async with aiohttp.ClientSession() as session:
        return await call(session, url, "sk-acme", Ask("acme", endpoint, {"model": "tiny", **body}))


async def test_client_sees_tokens_and_times_of_a_stream(url: str) -> None:
    found = await seen(url, stream=True)
    assert (True, None, 200, 300, 2, 256) == (
        found.ok,
        found.error,
        found.status,
        found.prompt_tokens,
        found.completion_tokens,
        found.cached_tokens,
    )
    assert found.ttft_s is not None
    assert 0 < found.ttft_s <= found.e2e_s


async def test_plain_call_has_no_time_to_first_token(url: str) -> None:
    found = await seen(url, COMPLETIONS)
    assert (True, None, 300) == (found.ok, found.ttft_s, found.prompt_tokens)


@pytest.mark.parametrize(
    ("model", "stream", "status", "error"),
    [
        ("400", False, 400, "400"),
        ("dies-midway", True, 200, "500"),
        ("reset-midway", True, 200, "disconnected"),
        ("reset", False, None, "disconnected"),
    ],
)
async def test_client_tells_failures_apart(url: str, model: str, stream: bool, status: int | None, error: str) -> None:
    found = await seen(url, model=model, stream=stream)
    assert (False, status, error) == (found.ok, found.status, found.error)


async def test_nobody_listening_is_a_failed_call() -> None:
    assert "disconnected" == (await seen(f"http://127.0.0.1:{free_port()}")).error


async def test_each_call_is_one_line_of_the_record(url: str, tmp_path: Path) -> None:
    record = tmp_path / "seen.jsonl"
    sent = await run(url, KEYS, rate=1000, stop=asyncio.Event(), record=record, seed=1, invalid_share=0, limit=20)
    lines = [Seen(**json.loads(line)) for line in record.read_text().splitlines()]
    assert (20, 20) == (sent, len(lines))
    assert all(line.ok for line in lines)
    assert 20 == len({line.trace_id for line in lines}) == len({line.request_id for line in lines})


async def test_stop_ends_the_traffic_in_the_middle_of_a_pause(url: str, tmp_path: Path) -> None:
    stop = asyncio.Event()
    ask = Ask("acme", CHAT, {"model": "tiny"})
    task = asyncio.create_task(send(url, KEYS, repeat(ask), repeat(3600.0), stop=stop, record=tmp_path / "seen.jsonl"))
    stop.set()
    assert 0 == await asyncio.wait_for(task, 5)
