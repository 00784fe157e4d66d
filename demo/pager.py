"""The demo's pager: takes Alertmanager's webhook payload and remembers what it was told, and when."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

MOST_KEPT = 200
DOWN = "/down"
"""Where it is told to be down, for ``seconds`` of the query."""


class Pager:
    """Every notification, the newest last; also a file of JSON lines, for whoever looks later."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._down_until = 0.0
        self.notifications: list[dict[str, Any]] = []
        self.taken, self.refused = 0, 0
        """Notifications that it took, and those that came while it was down."""

    async def take(self, request: web.Request) -> web.Response:
        """One POST of a webhook."""
        if time.monotonic() < self._down_until:
            self.refused += 1
            return web.Response(status=503, text="down\n")
        notification = {"received": time.time()} | await request.json()
        self.taken += 1
        self.notifications = [*self.notifications, notification][-MOST_KEPT:]
        with self._record.open("a") as lines:
            lines.write(json.dumps(notification) + "\n")
        return web.Response()

    async def go_down(self, request: web.Request) -> web.Response:
        """Take nothing for some seconds, from now; with 0 it is up again. Answers with what it refused and took so far."""
        self._down_until = time.monotonic() + float(request.query["seconds"])
        return web.json_response({"refused": self.refused, "taken": self.taken})

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[None]:
        """Listen on loopback."""
        app = web.Application()
        app.add_routes([web.post("/", self.take), web.post(DOWN, self.go_down)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield
        finally:
            await runner.cleanup()
