"""/healthz, /readyz and /metrics of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from collector.listener import listen


def application(ready: Callable[[], bool]) -> web.Application:
    """The three endpoints. ``ready`` says whether the process does its work, or waits for something."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(status=503, text="not ready\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


@asynccontextmanager
async def serve_health(name: str, address: str, ready: Callable[[], bool]) -> AsyncIterator[None]:
    """Serve on ``address``. ``name`` is the listener's key in the configuration, for the error where the port is in use."""
    async with listen(application(ready), name, address):
        yield
