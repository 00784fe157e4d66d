"""Connections to Postgres: a small pool, and one exception for "Postgres did not commit"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from psycopg import AsyncConnection, OperationalError, adapters
from psycopg.errors import InsufficientResources, InternalError, OperatorIntervention
from psycopg.types.string import BytesBinaryDumper
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from collector.errors import StoreUnavailable

RETRY_AFTER_SECONDS = 2
TRANSACTION_SECONDS = 5
"""No transaction of ours lives longer: an alerter reads by ``received_at`` with an overlap of 60 s, which a transaction that
commits later than that would slip through."""
RECONNECT_SECONDS = 0.5
"""Longest pause between two attempts of the pool to connect again; its own default grows to minutes."""
PATIENCE_SECONDS = 7.0
"""A server that hangs, or one that the network has forgotten, enforces no limit of its own: after this long it is given up."""
_OPTIONS = (
    f"-c timezone=UTC -c statement_timeout={TRANSACTION_SECONDS}s -c lock_timeout={TRANSACTION_SECONDS}s "
    # A transaction whose client the network has forgotten must not keep its rows and locks from those who come again.
    f"-c idle_in_transaction_session_timeout={TRANSACTION_SECONDS}s "
    # Nor may its session stay for the two hours after which TCP would find out. No effect on a Unix socket.
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)

# For a column of bytes in a binary COPY psycopg takes the dumper that was registered last, which by default is a slow one.
adapters.register_dumper(bytes, BytesBinaryDumper)

_UNAVAILABLE = (OperationalError, OperatorIntervention, InsufficientResources, InternalError, PoolTimeout)


class Database:
    """A pool of connections. ``size`` bounds the connections that one process may hold."""

    def __init__(self, conninfo: str, *, application: str, size: int = 4, timeout_seconds: float = 5.0) -> None:
        # Idle connections are kept: a server of ours is local, and opening one costs more than a batch.
        self.conninfo = conninfo
        self._pool: AsyncConnectionPool[AsyncConnection[tuple[object, ...]]] = AsyncConnectionPool(
            conninfo,
            min_size=1,
            max_size=size,
            timeout=timeout_seconds,
            reconnect_timeout=RECONNECT_SECONDS,
            open=False,
            kwargs={
                "autocommit": False,
                "application_name": application,
                "options": _OPTIONS,
            },
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[tuple[object, ...]]]:
        """A connection in a transaction that commits when the block ends well, and only then.

        :raises StoreUnavailable: when Postgres cannot be reached, does not answer, or did not commit
        """
        # Opened by hand: psycopg commits a nested block by itself where it is the first thing that a connection does.
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(
        self, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[AsyncConnection[tuple[object, ...]]]:
        """A connection with no transaction open, for what needs several of them.

        :raises StoreUnavailable: when Postgres cannot be reached, did not commit, or the block takes longer than its patience
        """
        try:
            async with asyncio.timeout(patience_seconds), self._pool.connection() as connection:
                yield connection
        except TimeoutError as error:
            raise StoreUnavailable("Postgres does not answer", RETRY_AFTER_SECONDS) from error
        except _UNAVAILABLE as error:
            raise StoreUnavailable(f"Postgres did not commit: {type(error).__name__}", RETRY_AFTER_SECONDS) from error
