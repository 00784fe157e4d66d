"""A stand-in for PagerDuty's Events API v2, as far as incidents go: one by each ``dedup_key`` that is open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


class Duty:
    """``events`` are those that were taken; ``opened`` counts the incidents, ``open`` has those that are."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.open: set[str] = set()
        self.opened = 0
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Answer one event as PagerDuty does."""
        event = await request.json()
        key = event.get("dedup_key", "")
        if not event.get("routing_key") or not 0 < len(key) <= 255 or event.get("event_action") not in ("trigger", "resolve"):
            return web.json_response({"status": "invalid event"}, status=400)
        if event["event_action"] == "trigger":
            body = event["payload"]
            if not (body["summary"] and body["source"] and body["severity"] in ("critical", "error", "warning", "info")):
                return web.json_response({"status": "invalid event"}, status=400)
            self.opened += key not in self.open
            self.open.add(key)
        else:
            self.open.discard(key)
        self.events.append(event)
        return web.json_response({"status": "success", "dedup_key": key}, status=202)


@asynccontextmanager
async def duty() -> AsyncIterator[Duty]:
    """A stand-in that listens until the block ends."""
    one = Duty()
    app = web.Application()
    app.add_routes([web.post("/v2/enqueue", one.take)])
    async with TestServer(app) as server:
        one.url = str(server.make_url("/v2/enqueue"))
        yield one
