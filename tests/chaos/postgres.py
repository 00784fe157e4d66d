"""A Postgres that things happen to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from collector.postgres import Server, server_account, start
from collector.postgres.process import servers
from tests.process import until

FAST, IMMEDIATE, KILLED = signal.SIGINT, signal.SIGQUIT, signal.SIGKILL
"""How a server ends: sessions cut off, everything left as it is, or the postmaster gone from one moment to the next."""


class Postgres:
    """A server that runs, unless it was ended."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._again: list[Server] = []

    async def end(self, how: signal.Signals) -> None:
        """End it, and wait until it is gone."""
        pid = self._server.pid
        assert pid is not None
        os.kill(pid, how)

        async def gone() -> bool:
            return not self._pids()

        await until(gone)

    async def begin(self) -> None:
        """Start it, as `llm-slo up` does where it finds it gone."""
        self._again.append(await asyncio.to_thread(start, self._server.data_dir))

    async def restart(self, how: signal.Signals) -> None:
        """End it, and start it at once."""
        await self.end(how)
        await self.begin()

    def freeze(self) -> None:
        """Let every process of it stand still."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        return servers(self._server.data_dir / "postgres", server_account())

    async def settle(self) -> None:
        """Be as at the beginning, whatever was done."""
        self.thaw()
        if self._server.pid is None:
            await self.begin()
        for server in self._again:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def postgres(server: Server) -> AsyncIterator[Postgres]:
    """The server of a session, which is as before when the block ends."""
    one = Postgres(server)
    try:
        yield one
    finally:
        await one.settle()
