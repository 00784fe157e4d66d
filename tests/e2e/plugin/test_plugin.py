"""What the plugin tells inside a real vLLM. The tests run in this order: the last one kills the engine."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from collector.exposition import parse
from demo.client import Seen, call
from demo.stage import MODEL
from demo.workload import COMPLETIONS, Ask, asks
from tests.collector.otlp_body import attribute, body
from tests.collector.recomputation import actual_rollup, expected_rollup, read_requests
from tests.e2e.plugin.stage import Stage
from tests.process import PROTOBUF, ledger, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLS = 60
AT_ONCE = 6
ARRIVED_SECONDS = 60.0


@pytest_asyncio.fixture(loop_scope="session")
async def look(stage: Stage) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(stage.conninfo, autocommit=True) as connection:
        yield connection


async def load(stage: Stage, work: Sequence[Ask]) -> list[Seen]:
    """Make calls, a few at once, straight to the engine. Returns what the clients saw."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(session: aiohttp.ClientSession, ask: Ask) -> Seen:
        async with free:
            return await call(session, stage.engine.url, "none", ask)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(one(session, ask) for ask in work))


def gateway_span(number: int, seen: Seen) -> Span:
    """The span of a gateway that knows who asked and how long it took. Every other one is in a trace of its own, and knows the
    response's id instead."""
    named: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "tenant.id": seen.tenant,
        "gen_ai.usage.input_tokens": seen.prompt_tokens,
        "gen_ai.usage.output_tokens": seen.completion_tokens,
    }
    if number % 2:
        named["gen_ai.response.id"] = f"{'cmpl' if seen.endpoint == COMPLETIONS else 'chatcmpl'}-{seen.request_id}"
    return Span(
        trace_id=secrets.token_bytes(16) if number % 2 else bytes.fromhex(seen.trace_id),
        span_id=secrets.token_bytes(8),
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=int(seen.started * 1e9),
        end_time_unix_nano=int(seen.ended * 1e9),
        attributes=[attribute(key, value) for key, value in named.items()],
    )


async def hits(stage: Stage) -> float:
    """Prompt tokens that the engine found in its prefix cache, by its own counter."""
    async with aiohttp.ClientSession() as session, session.get(f"{stage.engine.url}/metrics") as response:
        samples = parse(await response.text())
    return sum(sample.value for sample in samples if sample.name == "vllm:prefix_cache_hits_total")


async def engine_rows(look: AsyncConnection[Any], since: datetime) -> list[dict[str, Any]]:
    async with look.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT engine_requests.*, dialect, encode(trace_id, 'hex') AS trace FROM engine_requests "
            "JOIN producers ON producers.id = producer_id WHERE ended_at > %s",
            (since,),
        )
        return await cursor.fetchall()


async def merged(look: AsyncConnection[Any], since: datetime, sequences: int) -> list[dict[str, Any]]:
    """The engine's rows, once each record is part of its span's."""

    async def whole() -> list[dict[str, Any]] | None:
        rows = await engine_rows(look, since)
        done = len(rows) == sequences and all(row["dialect"] == "vllm" and row["cached_tokens"] is not None for row in rows)
        return rows if done else None

    try:
        return list(await until(whole, ARRIVED_SECONDS))
    except TimeoutError:
        rows = await engine_rows(look, since)
        pytest.fail(
            f"{len(rows)} rows of {sequences}: {Counter((row['dialect'], row['cached_tokens'] is None) for row in rows)}"
        )


async def test_each_request_and_each_tenant_has_the_cached_tokens_that_the_client_and_the_engine_counted(
    stage: Stage, look: AsyncConnection[Any]
) -> None:
    since, before = datetime.now(UTC), await hits(stage)
    work = list(islice((ask for ask in asks(31, MODEL, 0.0) if "n" not in ask.body), CALLS))
    seen = await load(stage, work)
    assert [] == [one.error for one in seen if not one.ok]
    counted = await hits(stage) - before
    async with aiohttp.ClientSession() as session:
        data = body([gateway_span(number, one) for number, one in enumerate(seen)], {"service.name": "a gateway"})
        async with session.post(f"{stage.otlp}/v1/traces", data=data, headers=PROTOBUF) as response:
            assert 200 == response.status
    engine = {row["trace"]: row for row in await merged(look, since, CALLS)}
    assert [] == [
        (one.request_id, one.cached_tokens, engine[one.trace_id]["cached_tokens"])
        for one in seen
        if (one.cached_tokens or 0) != engine[one.trace_id]["cached_tokens"]
    ]
    assert sum(one.stream for one in seen) > 10
    assert sum(1 for one in seen if one.cached_tokens) > 10

    async def linked() -> list[tuple[Any, ...]] | None:
        cursor = await look.execute(
            "SELECT t.name, r.name, cached_tokens, queue_seconds, prefill_seconds, decode_seconds, finish_reason FROM requests "
            "JOIN tenants t ON t.id = tenant_id JOIN replicas r ON r.id = replica_id "
            "WHERE ended_at > %s AND linked_at IS NOT NULL",
            (since,),
        )
        rows = await cursor.fetchall()
        return rows if len(rows) == CALLS and all(None not in row for row in rows) else None

    rows = await until(linked, ARRIVED_SECONDS)
    assert {stage.replica} == {row[1] for row in rows}
    assert {"stop", "length"} >= {row[6] for row in rows}
    tenants, expected = Counter[str](), Counter[str]()
    for tenant, _, cached, *_ in rows:
        tenants[tenant] += cached
    for one in seen:
        expected[one.tenant] += one.cached_tokens or 0
    assert expected == tenants
    assert len(tenants) > 1
    assert counted > 0
    assert abs(tenants.total() - counted) <= 0.001 * counted
    told = f"{tenants.total()} cached tokens in rows, {counted:.0f} counted"
    streams, hit = sum(one.stream for one in seen), sum(1 for one in seen if one.cached_tokens)
    print(f"{CALLS} calls ({streams} streams, {hit} with warm prefixes): {told}")


async def test_rollups_after_the_links_are_what_rows_add_up_to(stage: Stage, look: AsyncConnection[Any]) -> None:
    (everything,) = await (await look.execute("SELECT name FROM tenants WHERE id = 0")).fetchone() or ("",)

    async def equal() -> bool:
        rolled = {row for row in await actual_rollup(look) if row[4] != 3}
        return bool(rolled) and rolled == expected_rollup(await read_requests(look), everything)

    await until(equal)
    sums = await look.execute(
        "SELECT (SELECT sum(requests) FROM rollup_minute"
        " WHERE observed_by = 3 AND tenant_id = 0 AND model_id = 0 AND replica_id = 0) = (SELECT count(*) FROM engine_requests)"
    )
    assert [(True,)] == await sums.fetchall()
    async with aiohttp.ClientSession() as session:
        counts = await ledger(session, stage.config.listen.web)
    assert counts["received"] == sum(counts[name] for name in ("rows", "merged", "ignored", "duplicate", "rejected", "pending"))


async def test_of_several_choices_each_is_a_row_of_its_own(stage: Stage, look: AsyncConnection[Any]) -> None:
    since = datetime.now(UTC)
    several = [ask._replace(body={**ask.body, "n": 2}) for ask in islice(asks(32, MODEL, 0.0), 4)]
    seen = await load(stage, several)
    assert [] == [one.error for one in seen if not one.ok]
    rows = await merged(look, since, 2 * len(several))
    for one in seen:
        own = [row for row in rows if row["trace"] == one.trace_id]
        assert [one.prompt_tokens] * 2 == [row["input_tokens"] for row in own]
        assert one.completion_tokens == sum(row["output_tokens"] for row in own)
        # The usage states the prompt once; the engine computes it for each choice.
        print(f"n=2: usage says {one.cached_tokens} cached, rows say {[row['cached_tokens'] for row in own]}")


async def test_a_death_of_memory_is_told_by_the_plugin_alone_with_its_requests(
    stage: Stage, look: AsyncConnection[Any]
) -> None:
    since = datetime.now(UTC)
    long = {"model": MODEL, "prompt": "tell me", "max_tokens": 1500, "ignore_eos": True}
    work = [Ask("acme", COMPLETIONS, {**long, "seed": random.Random(n).randint(1, 9)}) for n in range(4)]
    calling = asyncio.create_task(load(stage, work))
    await asyncio.sleep(1.0)  # they are being computed, as in life
    stage.engine.oom_file.write_text("")

    async def told() -> list[tuple[Any, ...]]:
        cursor = await look.execute(
            "SELECT kind, replicas.name, detail FROM events JOIN replicas ON replicas.id = replica_id "
            "WHERE at > %s AND detail ->> 'cause' = 'oom' AND detail ->> 'requests' <> ''",
            (since,),
        )
        return await cursor.fetchall()

    (kind, replica, detail), *_ = await until(told, 20)
    print(kind, replica, detail)
    assert (stage.replica, "oom") == (replica, detail["cause"])
    seen = await calling
    ids = [id for id in detail["requests"].split(",") if any(one.request_id in id for one in seen)]
    assert len(ids) == len(work), detail
