"""A member of an Alertmanager cluster, as far as our side can tell: what was measured of 0.25, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


class Member:
    """``posts`` are the bodies that came; ``alerts`` those that were taken, in order. An alert named ``bad`` is not valid."""

    def __init__(self) -> None:
        self.status = 200
        self.posts: list[list[dict[str, Any]]] = []
        self.alerts: list[dict[str, Any]] = []
        self.url = ""

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Name, severity and end of what was taken."""
        return [(alert["labels"]["alertname"], alert["labels"]["severity"], alert["endsAt"]) for alert in self.alerts]

    def __call__(self, name: str) -> list[dict[str, Any]]:
        """What was taken of one alert."""
        return [alert for alert in self.alerts if alert["labels"]["alertname"] == name]

    async def take(self, request: web.Request) -> web.Response:
        """Answer one POST."""
        body = await request.json()
        self.posts.append(body)
        if self.status != 200:
            return web.Response(status=self.status)
        good = [alert for alert in body if alert["labels"]["alertname"] != "bad"]
        self.alerts += good
        return web.Response(status=200 if good == body else 400)


@asynccontextmanager
async def member() -> AsyncIterator[Member]:
    """A member that listens until the block ends."""
    one = Member()
    app = web.Application()
    app.add_routes([web.post("/api/v2/alerts", one.take)])
    async with TestServer(app) as server:
        one.url = str(server.make_url("/"))
        yield one
