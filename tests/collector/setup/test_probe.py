from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.setup.probe import look_around

PAGE = (Path(__file__).parents[2] / "data" / "vllm" / "metrics_load.txt").read_text()
NOBODY = "http://127.0.0.1:1"


def page_of(routes: dict[str, web.Response]) -> TestServer:
    async def answer(request: web.Request) -> web.Response:
        found = routes.get(request.path)
        return web.Response(status=404) if found is None else web.Response(body=found.body, content_type=found.content_type)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    return TestServer(app)


def vllm() -> TestServer:
    return page_of(
        {
            "/metrics": web.Response(text=PAGE),
            "/health": web.Response(),
            "/version": web.json_response({"version": "0.32.0"}),
        }
    )


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as one:
        yield one


async def start(stack: AsyncExitStack, server: TestServer) -> str:
    return str((await stack.enter_async_context(server)).make_url("")).rstrip("/")


async def test_an_engine_on_a_port_is_found_and_named(stack: AsyncExitStack) -> None:
    url = await start(stack, vllm())
    found = await look_around(ports=[urlsplit(url).port or 0], prometheus=NOBODY, litellm=NOBODY, environment={})
    assert [(url, "vllm", "0.32.0", ("tiny",))] == [(one.url, one.engine, one.version, one.models) for one in found.engines]
    assert (None, None, False) == (found.prometheus, found.litellm, found.kubernetes)


async def test_engines_that_prometheus_scrapes_are_found_once(stack: AsyncExitStack) -> None:
    url = await start(stack, vllm())
    instance = url.removeprefix("http://").replace("127.0.0.1", "localhost")
    answer = {"status": "success", "data": {"result": [{"metric": {"instance": instance}}]}}
    prometheus = await start(stack, page_of({"/api/v1/query": web.json_response(answer)}))
    found = await look_around([url], ports=[], prometheus=prometheus, litellm=NOBODY, environment={})
    assert [url] == [one.url for one in found.engines]
    assert prometheus == found.prometheus


async def test_what_answers_something_else_is_none(stack: AsyncExitStack) -> None:
    page = await start(stack, page_of({"/metrics": web.Response(text="up 1\n"), "/api/v1/query": web.Response(text="<html>")}))
    found = await look_around([page], ports=[], prometheus=page, litellm=page, environment={})
    assert ((), None, None) == (found.engines, found.prometheus, found.litellm)


async def test_litellm_and_kubernetes_are_noticed(stack: AsyncExitStack) -> None:
    litellm = await start(stack, page_of({"/health/liveliness": web.Response(text='"I\'m alive!"')}))
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    found = await look_around(ports=[], prometheus=NOBODY, litellm=litellm, environment=environment)
    assert (litellm, True) == (found.litellm, found.kubernetes)
