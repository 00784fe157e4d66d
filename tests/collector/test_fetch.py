from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.engines.engine import Question
from collector.fetch import FailedScrape, ask, fetch, session

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    async with TestServer(app) as server:
        yield str(server.make_url("/metrics"))


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"vllm:num_requests_running 1\n" * 1000)


async def slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"vllm:num_requests_running 1\n")
    await asyncio.Event().wait()
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"vllm:num_requests_running 1\n")
    assert request.transport is not None
    request.transport.close()
    return response


async def no_gzip(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"vllm:num_requests_running 1\n", headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (endless, "a page of more than 100000 bytes"),
        (slow, "no answer within 0 s"),
        (cut, "ClientPayloadError"),
        (no_gzip, "ClientPayloadError"),
    ],
)
async def test_page_that_never_ends_or_does_not_come_is_a_failed_scrape(answer: Answer, reason: str) -> None:
    async with serving(answer) as url, session() as client:
        with pytest.raises(FailedScrape, match=reason):
            await fetch(client, url, most_bytes=100_000, seconds=0.4)


async def test_page_that_is_just_not_too_large_is_taken() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="x" * 1000)

    async with serving(page) as url, session() as client:
        assert "x" * 1000 == await fetch(client, url, most_bytes=1000)
        with pytest.raises(FailedScrape):
            await fetch(client, url, most_bytes=999)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"data":[{"id":"m"}]}', "m"),
        ('{"data":[]}', None),
        ('{"data":[{"id":3}]}', None),
        ('{"data":"m"}', None),
        ('{"data":[{"id":"a\\u0000b"}]}', None),
        ('{"data":[{"id":"a\\ud800"}]}', None),
        ("<html>", None),
        ("[" * 100_000, None),
    ],
)
async def test_what_an_engine_says_of_itself_is_a_text_or_nothing(body: str, expected: str | None) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    async with serving(answer) as url, session() as client:
        assert expected == await ask(client, url, (Question("/v1/models", ("data", 0, "id")),))


async def test_first_question_that_is_answered_counts() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text='{"version":"0.5.9"}') if request.path.endswith("/new") else web.Response(status=404)

    async with serving(answer) as url, session() as client:
        assert "0.5.9" == await ask(client, url, tuple(Question(path, ("version",)) for path in ("/old", "/new")))
