"""An engine, as far as a collector can tell: it answers /health and /metrics until it dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time

from aiohttp import web

from tests.collector.port import free_address

_PAGE = """
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="tiny"}} 0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="tiny"}} 0
# TYPE process_start_time_seconds gauge
process_start_time_seconds {started}
"""


class Engine:
    """``address`` stays the same in every life of it."""

    def __init__(self) -> None:
        self.address = free_address()
        self._started = 0.0
        self._runner: web.AppRunner | None = None

    async def live(self) -> None:
        """Serve."""
        self._started = time()
        app = web.Application()
        app.add_routes([web.get("/health", self._health), web.get("/metrics", self._metrics)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        host, port = self.address.split(":")
        await web.TCPSite(self._runner, host, int(port)).start()

    async def die(self) -> None:
        """Be gone from one moment to the next; again is harmless."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=_PAGE.format(started=self._started).lstrip())


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    """An engine that lives at first."""
    one = Engine()
    await one.live()
    try:
        yield one
    finally:
        await one.die()
