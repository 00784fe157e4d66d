"""Listening on an address of the configuration, with an error that names its key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from collector.config import host_and_port
from collector.errors import AddressUnavailable


@asynccontextmanager
async def listen(app: web.Application, name: str, address: str) -> AsyncIterator[None]:
    """Serve an application; ``name`` is the key below ``listen:`` in the configuration.

    :raises AddressUnavailable: when the address is in use, or is none of this machine's
    """
    # aiohttp would decompress without a bound, and not every encoding: whoever takes bodies does it.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0, auto_decompress=False)
    await runner.setup()
    try:
        host, port = host_and_port(address)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise AddressUnavailable(name, address, error.strerror or str(error)) from error
        yield
    finally:
        await runner.cleanup()
