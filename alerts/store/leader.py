"""Leadership: one session holds an advisory lock, and evaluates and writes through the very session that holds it.

A leader that was cut off can therefore write nothing: its lock and its connection end together. Session locks need a real
session: give the alerter a direct connection, not one through a pooler that shares sessions.
"""

from __future__ import annotations

from contextlib import suppress

from psycopg import AsyncConnection, Error, IsolationLevel

from collector.store.connection import TRANSACTION_SECONDS

_LOCK = 0x6C6C6D2D736C6F  # "llm-slo"
_OPTIONS = (
    f"-c timezone=UTC -c statement_timeout={TRANSACTION_SECONDS}s -c lock_timeout={TRANSACTION_SECONDS}s "
    # The server must notice soon when a leader's host has vanished, or nobody can follow it. No effect on a Unix socket.
    "-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2 -c tcp_user_timeout=3000 "
    # So it must when a leader was killed in the middle of a query, or stands still: one that works asks something every second.
    "-c client_connection_check_interval=1000 -c idle_session_timeout=2500 -c idle_in_transaction_session_timeout=2500"
)

Connection = AsyncConnection[tuple[object, ...]]


class Leadership:
    """At most one process holds it. Not for use by two tasks at a time."""

    def __init__(self, conninfo: str, *, application: str) -> None:
        self._conninfo = conninfo
        self._application = application
        self._connection: Connection | None = None

    async def acquire(self) -> Connection | None:
        """The leader's connection if the lock is ours now; ``None`` if another process holds it.

        :raises psycopg.Error: when Postgres cannot be reached
        """
        connection = self._connection or await self._connect()
        self._connection = connection
        # the one lock; it lasts as long as this session
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
        row = await cursor.fetchone()
        return connection if row == (True,) else None

    async def release(self) -> None:
        """Give the lock back, by ending the session that holds it. Safe on a connection that is broken."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Error):
                await connection.close()

    async def _connect(self) -> Connection:
        connection: Connection = await AsyncConnection.connect(
            self._conninfo, autocommit=True, application_name=self._application, options=_OPTIONS, connect_timeout=5
        )
        # Every evaluation reads one state of the database: sums of a period and the pulses beyond them must fit together.
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        return connection
