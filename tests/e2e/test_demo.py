"""The whole path on real parts. The tests run in this order: the last one kills the engine."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from collector.exposition import parse
from demo.broken import break_demo
from demo.run import view
from demo.stage import MODEL, REPLICA, Demo
from demo.tenant import keys_by_tenant, read_directory
from tests.e2e.scene import alert_told, clients, files_with, query, rows_of, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLS = 80
ARRIVED_SECONDS = 30.0
PAGED_SECONDS = 20.0
RESTARTED_SECONDS = 240.0
RESOLVED_SECONDS = 60.0


class Comparison(NamedTuple):
    """One figure as the client saw it and as a row has it."""

    what: str
    trace_id: str
    client: float
    row: float


def near(client: float, row: float) -> bool:
    """Within 50 ms or 5 %, whichever is more."""
    return abs(client - row) <= max(0.05, 0.05 * client)


async def send(demo: Demo, record: Path, *, calls: int, seed: int) -> list[dict[str, Any]]:
    """Send traffic and wait for every answer. Returns what the clients saw.

    A process of its own, as clients are: what this process does meanwhile must not be in what they measure.
    """
    options = {"url": demo.gateway_url, "keys": demo.keys_file, "record": record, "rate": 3, "seed": seed, "limit": calls}
    command = [f"--{name}={value}" for name, value in options.items()]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "demo.traffic", "--invalid-share=0.05", *command)
    assert 0 == await process.wait()
    return [json.loads(line) for line in record.read_text().splitlines()]


async def counters(demo: Demo) -> dict[str, float]:
    """vLLM's own totals of prompt and generation tokens."""
    async with aiohttp.ClientSession() as session, session.get(f"{demo.engine.url}/metrics") as response:
        samples = parse(await response.text())
    return {
        name: sum(sample.value for sample in samples if sample.name == f"vllm:{name}_total")
        for name in ("prompt_tokens", "generation_tokens")
    }


async def test_rows_equal_what_clients_saw_and_what_the_engine_counted(demo: Demo, tmp_path: Path) -> None:
    since, before = datetime.now(UTC), await counters(demo)
    seen = await send(demo, tmp_path / "clients.jsonl", calls=CALLS, seed=11)
    answered = [one for one in seen if one["ok"]]
    assert len(seen) == CALLS
    assert len(answered) > CALLS / 2

    async def all_arrived() -> bool:
        gateway, engine = await rows_of(demo, "requests", since), await rows_of(demo, "engine_requests", since)
        return len(gateway) == CALLS and {one["trace_id"] for one in answered} <= engine.keys()

    await until(ARRIVED_SECONDS, all_arrived, "rows are missing")
    gateway, engine = await rows_of(demo, "requests", since), await rows_of(demo, "engine_requests", since)
    tokens, times, leads = [], [], []
    for one in answered:
        trace = one["trace_id"]
        row = gateway[trace]
        if one["n"] == 1:
            tokens += [
                Comparison("input", trace, one["prompt_tokens"], row["input_tokens"]),
                Comparison("output", trace, one["completion_tokens"], row["output_tokens"]),
                Comparison("cached", trace, one["cached_tokens"] or 0, row["cached_tokens"] or 0),
            ]
        times.append(Comparison("latency", trace, one["e2e_s"], row["latency_seconds"]))
        first_token = one["e2e_s"] if one["ttft_s"] is None else one["ttft_s"]
        if one["ttft_s"] is not None:
            times.append(Comparison("TTFT", trace, first_token, row["ttft_seconds"]))
        leads.append(Comparison("engine TTFT", trace, first_token, engine[trace]["ttft_seconds"]))
    assert [] == [part for part in tokens if part.client != part.row]
    assert [] == [part for part in times if not near(part.client, part.row)]
    assert [] == [part for part in leads if part.row > part.client]
    after = await counters(demo)
    sums = await query(
        demo,
        "SELECT sum(input_tokens)::float8 AS prompt_tokens, sum(output_tokens)::float8 AS generation_tokens"
        " FROM engine_requests WHERE ended_at > %s",
        since,
    )
    assert sums == [{name: after[name] - before[name] for name in before}]
    print(f"{len(tokens)} token counts equal, {len(times)} times within 50 ms or 5 %, {len(leads)} engine TTFTs ahead")


async def test_prompts_are_nowhere_in_the_database_or_the_logs(demo: Demo) -> None:
    key = next(iter(keys_by_tenant(read_directory(demo.keys_file)).values()))
    planted = "xylophonic-quokka"
    since = datetime.now(UTC)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        for tokens in (4, -1):
            body = {"model": MODEL, "max_tokens": tokens, "messages": [{"role": "user", "content": planted}]}
            async with session.post(f"{demo.gateway_url}/v1/chat/completions", json=body) as response:
                await response.read()

    async def arrived() -> bool:
        return len(await rows_of(demo, "requests", since)) == 2

    await until(ARRIVED_SECONDS, arrived, "the planted calls are missing")
    await query(demo, "SELECT pg_switch_wal()")
    assert [] == files_with(demo, planted)


async def test_invalid_requests_are_counted_and_page_nobody(demo: Demo) -> None:
    since, told = datetime.now(UTC), len(demo.pager.notifications)
    await asyncio.to_thread(break_demo, demo.directory, "validation", print)

    async def counted() -> bool:
        ((row),) = await query(demo, "SELECT count(*) AS bad FROM requests WHERE outcome = 4 AND ended_at > %s", since)
        return bool(row["bad"] >= 50)

    await until(ARRIVED_SECONDS, counted, "invalid requests were not counted as such")
    live = await view(demo, datetime.now(UTC))
    assert live.picture is not None
    assert {"READY"} == {replica.health.name for replica in live.picture.replicas}
    assert [] == [alert.name for alert in live.picture.alerts]
    assert told == len(demo.pager.notifications)


async def test_killed_engine_pages_with_model_and_replica_and_resolves_after_recovery(demo: Demo) -> None:
    lives = len(demo.engine.lives)
    async with clients(demo, seed=5):
        await asyncio.sleep(3.0)  # traffic that is hurt, as in life
        killed = time.time()
        await asyncio.to_thread(break_demo, demo.directory, "kill-engine", print)

        async def paged() -> tuple[float, dict[str, Any]] | None:
            return alert_told(demo, "EngineDead", "firing", killed)

        told, alert = await until(PAGED_SECONDS, paged, "nobody was paged")
        assert told - killed <= PAGED_SECONDS
        labels = alert["labels"]
        assert ("page", MODEL, REPLICA) == (labels["severity"], labels["model"], labels["replica"])
        assert REPLICA in alert["annotations"]["summary"]
        async with asyncio.timeout(RESTARTED_SECONDS):
            life = await demo.engine.wait_for_life(lives + 1)
        assert life.ready is not None

        async def resolved() -> tuple[float, dict[str, Any]] | None:
            return alert_told(demo, "EngineDead", "resolved", killed)

        recovered, ended = await until(RESOLVED_SECONDS, resolved, "the page was not resolved")
        assert alert["fingerprint"] == ended["fingerprint"]
        assert alert["startsAt"] == ended["startsAt"]
        recovery = recovered - life.ready.timestamp()
        print(f"paged {told - killed:.1f} s after the kill, resolved {recovery:.1f} s after recovery")
        print(json.dumps(alert["annotations"], indent=1))
    events = await query(
        demo, "SELECT kind FROM events WHERE at > %s", datetime.fromtimestamp(killed, UTC) - timedelta(seconds=5)
    )
    assert {"engine_down", "engine_ready", "restart"} <= {event["kind"] for event in events}
