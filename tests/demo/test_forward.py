from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from collector.otlp.log import LogKeys, Source
from collector.otlp.log_json import decode_logs_json
from demo.forward import forwarding, read_piece

RESOURCE = {"llm_slo.replica": "vllm-0", "llm_slo.model": "tiny"}
KEYS = LogKeys(("llm_slo.replica",), ("llm_slo.model",))
FATAL = "EngineCore encountered a fatal error.\n"


class Receiver:
    """An OTLP receiver that refuses the first bodies with the statuses that it is given."""

    def __init__(self) -> None:
        self.url = ""
        self.refuse: list[int] = []
        self.bodies: list[bytes] = []
        self.refused: list[bytes] = []
        self.came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.refuse:
            self.refused.append(body)
            return web.Response(status=self.refuse.pop(0), text="no")
        self.bodies.append(body)
        self.came.set()
        return web.json_response({})

    def facts(self) -> list[Source]:
        decoded = [decode_logs_json(body, KEYS, datetime.now(UTC)) for body in self.bodies]
        return [source for one in decoded for source in one.marks]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/v1/logs", receiver.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = site.name if ":0" not in site.name else f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


def add(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


async def arrived(receiver: Receiver) -> None:
    async with asyncio.timeout(60):
        await receiver.came.wait()


async def test_what_is_written_from_now_on_is_sent_with_the_replica_and_the_model(tmp_path: Path, receiver: Receiver) -> None:
    log = tmp_path / "vllm-0.log"
    add(log, FATAL)
    async with forwarding(log, receiver.url, RESOURCE, print):
        add(log, "something else\n" + FATAL)
        await arrived(receiver)
    (body,) = receiver.bodies
    decoded = decode_logs_json(body, KEYS, datetime.now(UTC))
    assert ([Source("vllm-0", "tiny")], 1, 1, []) == (list(decoded.marks), *decoded[1:])


async def test_log_need_not_be_there_yet(tmp_path: Path, receiver: Receiver) -> None:
    log = tmp_path / "vllm-0.log"
    async with forwarding(log, receiver.url, RESOURCE, print):
        add(log, FATAL)
        await arrived(receiver)
    assert [Source("vllm-0", "tiny")] == receiver.facts()


async def test_body_that_was_not_taken_is_sent_again_unchanged(tmp_path: Path, receiver: Receiver) -> None:
    receiver.refuse = [503]
    log = tmp_path / "vllm-0.log"
    async with forwarding(log, receiver.url, RESOURCE, print):
        add(log, FATAL)
        await arrived(receiver)
    assert receiver.refused == receiver.bodies


async def test_body_that_is_refused_for_good_is_said_and_left(tmp_path: Path, receiver: Receiver) -> None:
    receiver.refuse, said = [400], asyncio.Event()
    log = tmp_path / "vllm-0.log"
    async with forwarding(log, receiver.url, RESOURCE, lambda _: said.set()):
        add(log, "first\n")
        async with asyncio.timeout(60):
            await said.wait()
        add(log, FATAL)
        await arrived(receiver)
    assert [Source("vllm-0", "tiny")] == receiver.facts()


def test_only_whole_lines_are_read_and_none_twice(tmp_path: Path) -> None:
    log = tmp_path / "vllm-0.log"
    assert ((), 0) == read_piece(log, 0)
    log.write_text("one\ntwo\nthr")
    assert (["one", "two"], 8) == read_piece(log, 0)
    assert ([], 8) == read_piece(log, 8)
    add(log, "ee\n")
    assert (["three"], 14) == read_piece(log, 8)


def test_line_without_end_is_sent_in_pieces_and_a_shorter_log_is_a_new_one(tmp_path: Path) -> None:
    log = tmp_path / "vllm-0.log"
    log.write_text("x" * 300_000)
    (line,), end = read_piece(log, 0)
    assert (len(line), 262_144) == (end, end)
    log.write_text("new\n")
    assert (["new"], 4) == read_piece(log, end)
