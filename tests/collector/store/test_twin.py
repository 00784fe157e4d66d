from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from psycopg import AsyncConnection, sql

from collector import telemetry
from collector.link import LASTS, pair
from collector.request import ObservedBy, Request
from collector.rollup import roll
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.link import LinkStore
from collector.store.request import RequestStore, Written
from tests.collector.example import judged, now, request, rows

SAID = {
    "observed_by": ObservedBy.ENGINE,
    "tenant": "unknown",
    "request_id": "chatcmpl-1",
    "input_tokens": 101,
    "output_tokens": 12,
}
ENDED = now() - timedelta(seconds=30)


def gateway(**fields: Any) -> Request:
    """A gateway's row that knows neither cached tokens nor the response's id."""
    return request(1, ENDED, **({"cached_tokens": None, "replica": None, "input_tokens": 101} | fields))


def span(**fields: Any) -> Request:
    """vLLM's own span of the call, in the caller's trace."""
    told = SAID | {"dialect": "vllm", "cached_tokens": None, "queue_seconds": 0.1, "replica": None}
    one = request(2, ENDED - timedelta(seconds=0.01), **(told | fields))
    return replace(one, trace_id=gateway().trace_id, started_at=one.started_at + timedelta(seconds=0.02))


def record(number: int = 3, **fields: Any) -> Request:
    """The plugin's record of the same sequence, in a trace of its own."""
    told = SAID | {"dialect": "vllm_plugin_beside", "finish_reason": "stop", "preemptions": 1, "replica": "vllm-7"}
    return request(number, ENDED + timedelta(seconds=0.02), **(told | fields))


async def write(database: Database, *requests: Request) -> Written:
    store = RequestStore(database, Dictionary(database))
    return await store.write(judged(requests), now())


async def join(database: Database) -> None:
    while await LinkStore(database).join(pair, now()):
        pass


@pytest.mark.parametrize("at_once", [True, False], ids=["in one round", "in rounds of their own"])
async def test_a_record_becomes_part_of_the_spans_row_and_reaches_the_caller_in_any_order_of_arrival(
    connected: Database, look: AsyncConnection[Any], at_once: bool
) -> None:
    orders = list(permutations(range(3)))
    for number, order in enumerate(orders):
        trace, id = bytes([number]) * 16, f"chatcmpl-{number}"
        parts = replace(gateway(), trace_id=trace), replace(span(request_id=id), trace_id=trace), record(number, request_id=id)
        for one in (parts[index] for index in order):
            await write(connected, one)
            if not at_once:
                await join(connected)
        await join(connected)
    known = "encode(trace_id, 'hex'), cached_tokens, finish_reason, preemptions, queue_seconds"
    told = [((bytes([number]) * 16).hex(), 64, "stop", 1, 0.1) for number in range(len(orders))]
    for table in ("requests", "engine_requests"):
        assert told == await rows(look, table, known)
        cursor = await look.execute(
            sql.SQL("SELECT DISTINCT replicas.name FROM {} JOIN replicas ON replicas.id = replica_id").format(
                sql.Identifier(table)
            )
        )
        assert [("vllm-7",)] == await cursor.fetchall()


async def test_sequences_count_once_in_rollups(connected: Database, look: AsyncConnection[Any]) -> None:
    await write(connected, span(), record())
    await roll(connected, now())
    await join(connected)
    await roll(connected, now())
    engines = (
        "SELECT sum(requests)::int, sum(input_tokens)::int, sum(cached_tokens)::int FROM rollup_minute "
        "WHERE observed_by = 3 AND tenant_id = 0 AND model_id = 0 AND replica_id = 0"
    )
    assert [(1, 101, 64)] == await (await look.execute(engines)).fetchall()


async def test_a_record_that_is_sent_again_is_a_duplicate_before_and_after(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    await write(connected, record())
    assert (0, 1) == (await _again(connected, record()))
    await write(connected, span())
    before = telemetry.ENGINE_ROWS_MERGED._value.get()
    await join(connected)
    assert 1 == telemetry.ENGINE_ROWS_MERGED._value.get() - before
    assert (0, 1) == (await _again(connected, record()))
    assert (0, 1) == (await _again(connected, span()))
    await join(connected)
    assert [(64,)] == await rows(look, "engine_requests", "cached_tokens")
    # A batch may hold others beside it.
    assert 1 == (await write(connected, record(), record(4, request_id="chatcmpl-2"))).duplicates


async def _again(database: Database, one: Request) -> tuple[int, int]:
    written = await write(database, one)
    return written.rows.total(), written.duplicates


async def test_sequences_of_one_request_get_their_own(connected: Database, look: AsyncConnection[Any]) -> None:
    first = (span(output_tokens=5), record(3, output_tokens=5, finish_reason="stop"))
    last = (
        replace(span(output_tokens=9), span_id=bytes(8)),
        record(4, output_tokens=9, finish_reason="length"),
    )
    await write(connected, last[1], first[0])
    await join(connected)
    await write(connected, first[1], last[0])
    await join(connected)
    assert [(5, "stop"), (9, "length")] == await rows(look, "engine_requests", "output_tokens, finish_reason")


async def test_a_record_whose_span_does_not_come_stays_a_row(connected: Database, look: AsyncConnection[Any]) -> None:
    await write(connected, record(), gateway(response_id="chatcmpl-1"))
    await join(connected)
    assert [(64,)] == await rows(look, "engine_requests", "cached_tokens")
    assert [(64,)] == await rows(look, "requests", "cached_tokens")
    await LinkStore(connected).forget(now() + LASTS)
    assert [(0,)] == await rows(look, "links", "count(*)")


async def test_twins_that_come_late_find_each_other(connected: Database, look: AsyncConnection[Any]) -> None:
    late = {"ended_at": ENDED - timedelta(hours=5)}
    await write(connected, replace(span(), **late), replace(gateway(), **late), replace(record(), **late))
    await join(connected)
    assert [(64,)] == await rows(look, "engine_requests", "cached_tokens")
    assert [(None,)] == await rows(look, "requests", "cached_tokens")
