from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from collector.link import LASTS, pair
from collector.request import ObservedBy, Request, TokenProvenance
from collector.rollup import roll
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.link import TELLING_A_ROUND, LinkStore
from collector.store.request import RequestStore
from tests.collector.example import judged, now, request, rows

TOLD = {
    "queue_seconds": 0.1,
    "prefill_seconds": 0.2,
    "decode_seconds": 1.5,
    "preemptions": 1,
    "finish_reason": "stop",
}
COLUMNS = "cached_tokens, queue_seconds, prefill_seconds, decode_seconds, preemptions, finish_reason"


def gateway(**fields: Any) -> Request:
    """A gateway's row of a call of which an engine has a row too."""
    unknown = {"cached_tokens": None, "replica": None, "response_id": "chatcmpl-1"}
    return request(1, now() - timedelta(seconds=10), **(unknown | fields))


def engine(of: Request, **fields: Any) -> Request:
    """The engine's row of a call."""
    told = {"observed_by": ObservedBy.ENGINE, "tenant": "unknown", "input_tokens": of.input_tokens or 101, "cached_tokens": 64}
    one = request(2, of.ended_at, **(told | TOLD | {"replica": "vllm-7", "dialect": "vllm"} | fields))
    return one if one.dialect == "vllm_plugin" else replace(one, trace_id=of.trace_id, started_at=of.started_at)


async def write(database: Database, *requests: Request) -> None:
    for one in requests:
        await RequestStore(database, Dictionary(database)).write(judged([one]), now())


async def join(database: Database) -> int:
    return await LinkStore(database).join(pair, now())


async def test_what_an_engine_tells_fills_in_what_the_gateway_does_not_know_in_either_order(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    for order in (1, -1):
        asks = gateway()
        await write(connected, *[asks, engine(asks)][::order])
        await join(connected)
    expected = (64, 0.1, 0.2, 1.5, 1, "stop")
    assert [expected, expected] == await rows(look, "requests", COLUMNS)
    cursor = await look.execute("SELECT replicas.name FROM requests JOIN replicas ON replicas.id = replica_id")
    assert [("vllm-7",), ("vllm-7",)] == await cursor.fetchall()


async def test_what_the_gateway_says_itself_stays(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway(cached_tokens=7, queue_seconds=0.5, replica="vllm-1", finish_reason="length")
    await write(connected, asks, engine(asks))
    assert 1 == await join(connected)
    assert [(7, 0.5, 0.2, 1.5, 1, "length")] == await rows(look, "requests", COLUMNS)
    cursor = await look.execute("SELECT replicas.name FROM requests JOIN replicas ON replicas.id = replica_id")
    assert [("vllm-1",)] == await cursor.fetchall()


async def test_cached_tokens_are_never_more_than_the_prompt(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway(input_tokens=50)
    await write(connected, asks, engine(asks))
    await join(connected)
    assert [(50,)] == await rows(look, "requests", "cached_tokens")


async def test_what_the_engine_does_not_know_stays_unknown(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway()
    await write(connected, asks, engine(asks, cached_tokens=None))
    await join(connected)
    assert [(None, 0.1)] == await rows(look, "requests", "cached_tokens, queue_seconds")


async def test_counts_that_nobody_stated_are_the_engines_and_say_so(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway(input_tokens=None, output_tokens=None)
    await write(connected, asks, engine(asks))
    await join(connected)
    assert [(101, 64, 12, TokenProvenance.ENGINE)] == await rows(
        look, "requests", "input_tokens, cached_tokens, output_tokens, token_provenance"
    )


async def test_a_record_without_a_trace_is_found_by_the_responses_id(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway()
    await write(connected, asks, engine(asks, dialect="vllm_plugin", request_id="chatcmpl-1"))
    assert 1 == await join(connected)
    assert [(64,)] == await rows(look, "requests", "cached_tokens")


async def test_a_minute_is_recomputed_with_what_was_told(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway()
    await write(connected, asks)
    await roll(connected, now())
    await write(connected, engine(asks))
    await join(connected)
    await roll(connected, now())
    of_gateways = "SELECT sum(cached_tokens) FROM rollup_minute WHERE observed_by = 1 AND tenant_id = 0 AND model_id = 0"
    assert [(64,)] == await (await look.execute(of_gateways)).fetchall()


async def test_each_row_tells_once(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway()
    await write(connected, asks, engine(asks))
    assert [1, 0] == [await join(connected), await join(connected)]
    assert [(False,)] == await rows(look, "links", "DISTINCT tells")


async def test_a_row_that_finds_nobody_waits_and_is_let_go_in_the_end(connected: Database, look: AsyncConnection[Any]) -> None:
    await write(connected, engine(gateway()))
    assert 0 == await join(connected)
    await LinkStore(connected).forget(now() + LASTS - timedelta(seconds=30))
    assert [(1,)] == await rows(look, "links", "count(*)")
    await LinkStore(connected).forget(now() + LASTS)
    assert [(0,)] == await rows(look, "links", "count(*)")


async def test_many_rows_that_find_nobody_keep_no_other_from_its_turn(connected: Database, look: AsyncConnection[Any]) -> None:
    for tells, minutes in ((True, 5), (False, 6)):
        await look.execute(
            # calls of one trace whose engine's rows are away from them in time
            "INSERT INTO links (key, tells, ended_at, span_id, trace_id, tenant_id, started_at, received_at) "
            "SELECT 'odd', %s, %s - n * interval '1 ms', int4send(n), 'odd', 1, %s - n * interval '1 ms', %s "
            "FROM generate_series(1, %s) AS n",
            (tells, *[now() - timedelta(minutes=minutes)] * 2, now(), TELLING_A_ROUND),
        )
    asks = gateway()
    await write(connected, asks, engine(asks))
    assert 1 == await join(connected)


async def test_a_resend_links_nothing_twice(connected: Database, look: AsyncConnection[Any]) -> None:
    asks = gateway()
    await write(connected, asks, asks, engine(asks))
    await join(connected)
    await write(connected, asks, engine(asks))
    assert 0 == await join(connected)
    assert [(1,)] == await rows(look, "requests", "count(*)")
