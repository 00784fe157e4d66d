"""A webhook receiver on loopback that remembers what it was sent and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


class Receiver:
    """``bodies`` are those that were taken; ``seen`` counts every POST, ``reached`` is set by the first. A POST
    is kept waiting while ``answers`` is not set."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.text = ""
        self.bodies: list[dict[str, Any]] = []
        self.seen = 0
        self.url = ""
        self.reached = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that were taken, in the order in which they came."""
        return [alert for body in self.bodies for alert in body["alerts"]]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Name and status of the alerts that were taken."""
        return [(alert["labels"]["alertname"], alert["status"]) for alert in self.alerts]

    async def take(self, request: web.Request) -> web.Response:
        """Answer one POST."""
        self.seen += 1
        self.reached.set()
        body = await request.json()
        await self.answers.wait()
        if 200 <= self.status < 300:
            self.bodies.append(body)
        return web.Response(status=self.status, headers=self.headers, text=self.text)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens until the block ends."""
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/hook", receiver.take)])
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        try:
            yield receiver
        finally:
            receiver.answers.set()
