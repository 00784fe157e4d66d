from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from alerts import heartbeat
from alerts.heartbeat import run_heartbeat
from tests.alerts.test_daemon import until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)


class Service:
    """Counts the calls."""

    def __init__(self, status: int) -> None:
        self.calls = 0
        self.status = status

    async def take(self, request: web.Request) -> web.Response:
        self.calls += 1
        return web.Response(status=self.status)


@asynccontextmanager
async def beating(healthy: Callable[[], bool], status: int = 200) -> AsyncIterator[Service]:
    service, stop = Service(status), asyncio.Event()
    app = web.Application()
    app.add_routes([web.get("/secret", service.take)])
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        task = asyncio.create_task(run_heartbeat(str(server.make_url("/secret")), session, healthy, stop))
        try:
            yield service
        finally:
            stop.set()
            await task


async def test_it_beats_while_evaluation_works_and_stops_when_it_does_not() -> None:
    works = True
    async with beating(lambda: works) as service:
        await until(lambda: service.calls >= 3)
        works = False
        await asyncio.sleep(0.02)
        calls = service.calls
        await asyncio.sleep(0.15)

        assert calls == service.calls


async def test_a_service_in_trouble_is_called_again_and_its_address_is_nowhere() -> None:
    with capture_logs() as said:
        async with beating(lambda: True, status=500) as service:
            await until(lambda: service.calls >= 3)

    assert {"the heartbeat was not taken"} == {line["event"] for line in said}
    assert "secret" not in str(said)


async def test_a_service_that_is_not_there_stops_nothing() -> None:
    stop = asyncio.Event()
    with capture_logs() as said:
        async with aiohttp.ClientSession() as session:
            task = asyncio.create_task(run_heartbeat("http://127.0.0.1:1/secret", session, lambda: True, stop))
            await until(lambda: len(said) >= 2)
            stop.set()
            await task

    assert {"the heartbeat was not taken"} == {line["event"] for line in said}
    assert "secret" not in str(said)
