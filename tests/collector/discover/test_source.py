from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.discover.source import LARGEST_BYTES, DnsSource, FileSource, HttpSource, SourceFailed
from collector.target import DnsDiscovery, FileDiscovery, HttpDiscovery

GROUPS = [{"targets": ["a:1"], "labels": {"model": "llama"}}]


@asynccontextmanager
async def answering(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[HttpSource]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.add_routes([web.get("/targets", handle)])
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield HttpSource(HttpDiscovery(url=str(server.make_url("/targets"))), session)


async def test_files_that_match_are_read_in_json_and_yaml(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(GROUPS))
    (tmp_path / "two.yml").write_text("- targets: [b:1]\n")
    (tmp_path / "empty.yml").write_text("")
    found = await FileSource(FileDiscovery(files=(str(tmp_path / "*.json"), str(tmp_path / "*.yml")))).find()
    assert ["a:1", "b:1"] == [target.replica_name for target in found.targets]


@pytest.mark.parametrize("text", ["[", "- targets: 7", "a: [b", "<html>"])
async def test_a_file_in_another_format_fails_and_names_itself(tmp_path: Path, text: str) -> None:
    path = tmp_path / "targets.yml"
    path.write_text(text)
    with pytest.raises(SourceFailed, match=str(path)):
        await FileSource(FileDiscovery(files=(str(path),))).find()


async def test_a_url_is_read() -> None:
    async with answering(lambda _: web.json_response(GROUPS)) as source:
        assert ["llama"] == [target.model for target in (await source.find()).targets]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda _: web.Response(text="<html>", content_type="text/html"), "answered text/html: expected application/json"),
        (lambda _: web.json_response({"error": "x"}, status=503), "answered 503: expected 200"),
        (lambda _: web.Response(status=302, headers={"Location": "/targets"}), "answered 302: expected 200"),
        (lambda _: web.Response(body=b"[" * 200_000, content_type="application/json"), "recursion"),
        (lambda _: web.Response(body=b" " * (LARGEST_BYTES + 1), content_type="application/json"), "larger than"),
        (lambda _: web.json_response({"a": 1}), "expected a list of groups"),
    ],
)
async def test_a_url_that_answers_something_else_fails(
    answer: Callable[[web.Request], web.StreamResponse], expected: str
) -> None:
    async with answering(answer) as source:
        with pytest.raises(SourceFailed, match=expected):
            await source.find()


async def test_a_url_that_nobody_answers_fails() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(SourceFailed, match="no answer"):
            await HttpSource(HttpDiscovery(url="http://127.0.0.1:1/"), session).find()


async def test_a_name_gives_a_target_per_address() -> None:
    found = await DnsSource(DnsDiscovery(names=("127.0.0.1", "::1"), port=8000, model="llama")).find()
    assert ["http://127.0.0.1:8000", "http://[::1]:8000"] == [target.url for target in found.targets]


async def test_a_name_that_nobody_knows_fails() -> None:
    with pytest.raises(SourceFailed, match=r"no\.such\.name\.invalid"):
        await DnsSource(DnsDiscovery(names=("no.such.name.invalid",))).find()
