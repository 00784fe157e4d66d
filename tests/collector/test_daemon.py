from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import psycopg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import REGISTRY

from collector import daemon
from collector.config import Config, Listen
from collector.daemon import Collector
from collector.errors import AddressUnavailable, StoreUnavailable
from tests.collector.example import OBJECTIVES, now, rows
from tests.collector.otlp_body import body, chat_span
from tests.collector.port import free_address

HEADERS = {"Content-Type": "application/x-protobuf"}


def configuration() -> Config:
    return Config(
        data_dir=Path(tempfile.mkdtemp(prefix="llm-slo-daemon-")),
        listen=Listen(otlp_grpc=free_address(), otlp_http=free_address()),
    )


@asynccontextmanager
async def running(config: Config, conninfo: str, *, until_ready: bool = True) -> AsyncIterator[Collector]:
    collector = Collector(config, conninfo, OBJECTIVES)
    stop = asyncio.Event()
    task = asyncio.create_task(collector.run(stop))
    try:
        if until_ready:
            waiting = asyncio.create_task(collector.ready.wait())
            await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
        yield collector
    finally:
        stop.set()
        await task


async def post(session: aiohttp.ClientSession, config: Config, data: bytes) -> aiohttp.ClientResponse:
    async with session.post(f"http://{config.listen.otlp_http}/v1/traces", data=data, headers=HEADERS) as response:
        await response.read()
        return response


def ledger() -> dict[str, float]:
    """The sums over all labels of the counters of spans."""
    sums: dict[str, float] = {}
    for family in REGISTRY.collect():
        if family.name.startswith("llm_slo_spans_"):
            values = (sample.value for sample in family.samples if not sample.name.endswith("_created"))
            sums[family.name.removeprefix("llm_slo_spans_")] = sum(values)
    return sums


def change(before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in ledger().items()}


async def test_body_becomes_rows_and_the_ledger_balances(database: str) -> None:
    config, before, at = configuration(), ledger(), now()
    spans = [
        *(chat_span(number, at) for number in range(20)),
        chat_span(100, at, gen_ai__usage__input_tokens=-5),
        chat_span(101, at, gen_ai__operation__name="execute_tool"),
    ]
    async with running(config, database), aiohttp.ClientSession() as session:
        assert 200 == (await post(session, config, body(spans))).status
        assert 200 == (await post(session, config, body(spans[:5]))).status
        async with await psycopg.AsyncConnection.connect(database) as connection:
            assert [(20,)] == await rows(connection, "requests", "count(*)")
    expected = {"received": 27, "rows": 20, "duplicate": 5, "rejected": 1, "ignored": 1, "merged": 0, "pending": 0}
    counted = change(before)
    assert expected == {name: counted[name] for name in expected}


async def test_same_body_in_two_concurrent_requests_is_stored_once(database: str) -> None:
    config, at = configuration(), now()
    data = body(chat_span(number, at - timedelta(milliseconds=number)) for number in range(500))
    async with running(config, database), aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(post(session, config, data) for _ in range(4)))
        assert [200] * 4 == [answer.status for answer in answers]
        async with await psycopg.AsyncConnection.connect(database) as connection:
            assert [(500,)] == await rows(connection, "requests", "count(*)")
            assert [(1000,)] == await rows(connection, "pulses", "sum(good + bad)")


async def test_what_is_sent_before_postgres_is_there_is_kept_and_stored_by_the_next_collector(database: str) -> None:
    config, before = configuration(), ledger()
    async with (
        running(config, "host=127.0.0.1 port=1 dbname=nowhere", until_ready=False) as collector,
        aiohttp.ClientSession() as session,
    ):
        while True:
            try:
                answer = await post(session, config, body(chat_span(number, now()) for number in range(3)))
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)
        assert (200, False) == (answer.status, collector.ready.is_set())
        assert 3 == change(before)["pending"]
    async with running(config, database), await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while await rows(connection, "requests", "count(*)") != [(3,)]:  # noqa: ASYNC110 - another connection's commit sets no event
            await asyncio.sleep(0.01)


async def test_rollups_go_on_at_once_after_an_outage_however_long_it_was(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, rounds = asyncio.Event(), 0

    async def roll(*_: object) -> timedelta:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            await asyncio.sleep(0.01)
            raise StoreUnavailable("away", 1)
        again.set()
        return timedelta(0)

    monkeypatch.setattr(daemon, "roll", roll)
    monkeypatch.setattr(daemon, "ROLL_SECONDS", 0.01)
    # An outage of 10 ms would call for a rest of three hours.
    monkeypatch.setattr(daemon, "ROLL_SHARE", 1_000_000)
    async with running(configuration(), database), asyncio.timeout(60):
        await again.wait()


async def test_request_whose_spans_come_in_two_bodies_is_one_row(database: str) -> None:
    config, before, at = configuration(), ledger(), now()
    (call,) = [chat_span(1, at, litellm__call_type="acompletion", litellm__call_id="1")]
    call.kind, call.parent_span_id, call.span_id = Span.SPAN_KIND_CLIENT, b"envelope", b"the call"
    (envelope,) = [chat_span(1, at + timedelta(milliseconds=10), url__path="/v1/chat/completions")]
    del envelope.attributes[:-1]
    envelope.span_id = b"envelope"
    async with running(config, database), aiohttp.ClientSession() as session:
        for span in (envelope, call):
            assert 200 == (await post(session, config, body([span]))).status
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            while await rows(connection, "fragments", "count(*)") != [(0,)]:  # noqa: ASYNC110 - another connection's commit sets no event
                await asyncio.sleep(0.01)
            assert [(b"envelope", 10)] == await rows(connection, "requests", "span_id, output_tokens")
    counted = change(before)
    assert (2, 1, 1, 0) == tuple(counted[name] for name in ("received", "rows", "merged", "pending"))


@pytest.mark.parametrize("name", ["otlp_http", "otlp_grpc"])
async def test_port_in_use_is_named(name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = configuration()
        config = config.model_copy(update={"listen": config.listen.model_copy(update={name: address})})
        with pytest.raises(AddressUnavailable, match=rf"listen\.{name}: cannot listen on {address}"):
            await Collector(config, "host=/nowhere", ()).run(asyncio.Event())
