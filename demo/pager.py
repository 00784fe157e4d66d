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


class Pager:
    """Every notification, the newest last; also a file of JSON lines, for whoever looks later."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self.notifications: list[dict[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        """One POST of a webhook."""
        notification = {"received": time.time()} | await request.json()
        self.notifications = [*self.notifications, notification][-MOST_KEPT:]
        with self._record.open("a") as lines:
            lines.write(json.dumps(notification) + "\n")
        return web.Response()

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[None]:
        """Listen on loopback."""
        app = web.Application()
        app.add_routes([web.post("/", self.take)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield
        finally:
            await runner.cleanup()
