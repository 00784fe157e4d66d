"""A way to Postgres that can be shut, slowed and silenced: TCP on loopback in front of the server's socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Gate:
    """``conninfo`` leads through it. What passes is late by ``delay_seconds``."""

    def __init__(self, conninfo: str) -> None:
        parts = conninfo_to_dict(conninfo)
        self._socket = str(Path(str(parts["host"])) / f".s.PGSQL.{parts.get('port') or 5432}")
        self._target = conninfo
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0
        self._passes = asyncio.Event()
        self._passes.set()
        self._lost: list[asyncio.Event] = []
        self.delay_seconds = 0.0

    @property
    def conninfo(self) -> str:
        return make_conninfo(self._target, host="127.0.0.1", port=self._port)

    async def open(self) -> None:
        """Let everybody through, at the same address as before."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Cut who is connected, and refuse who comes."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        # Nobody reads it any more, and who carries it can end.
        for passes in (*self._lost, self._passes):
            passes.set()

    def hold(self) -> None:
        """Let nothing through, and cut nobody: what is sent waits."""
        self._passes.clear()

    def release(self) -> None:
        """Let through what waited, and what comes."""
        self._passes.set()

    def lose(self) -> None:
        """Nothing of the connections that there are arrives ever again, and nobody is told: a firewall forgot them."""
        self._passes.clear()
        self._lost.append(self._passes)
        self._passes = asyncio.Event()
        self._passes.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passes = self._passes
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.transport.abort()  # no server: what a connection to a closed port comes to
            return
        ends = {writer, inner_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._copy(reader, inner_writer, passes), self._copy(inner_reader, writer, passes))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                await passes.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(chunk)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def gate(conninfo: str) -> AsyncIterator[Gate]:
    """A gate that is open at first."""
    one = Gate(conninfo)
    await one.open()
    try:
        yield one
    finally:
        await one.shut()
