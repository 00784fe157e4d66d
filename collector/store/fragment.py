"""Fragments in Postgres: put there with the rows of their body, found again when they are whole or have waited long enough.

A trace is closed by one collector at a time, which an advisory lock says that lives as long as its transaction: locks on rows
could give two collectors a part of a trace each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from collector.fragment import VERSION, Fragment, Trace
from collector.request import ObservedBy
from collector.store.connection import Database

Connection = AsyncConnection[Any]

LARGEST_READ = 4096
"""Fragments that are read at once, and with them the memory of one round."""
LARGEST_TRACE = 256
"""Fragments of one trace that are put together: a trace that has more is closed in pieces."""
_LOCK = 0x6C73_0004


class Seen(NamedTuple):
    """A row that a trace has already, by the tenant of the row."""

    tenant: str
    trace_id: bytes
    observed_by: ObservedBy
    started_at: datetime
    ended_at: datetime
    request_id: str | None


class Taking(NamedTuple):
    """Fragments that a closing takes away."""

    trace: Trace
    span_ids: tuple[bytes, ...]


class FragmentStore:
    """Reads fragments. What is written of them goes with rows (``RequestStore``)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, traces: Collection[Trace]) -> set[Trace]:
        """Which of these traces have fragments.

        :raises StoreUnavailable: when Postgres cannot be reached
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # traces of a body that wait already: a look into the key for each
                "SELECT tenant, trace_id FROM unnest(%s::text[], %s::bytea[]) AS asked (tenant, trace_id) WHERE EXISTS "
                "(SELECT FROM fragments AS f WHERE f.trace_id = asked.trace_id AND f.tenant = asked.tenant)",
                _columns(traces),
            )
            return {Trace(str(tenant), _bytes(trace_id)) for tenant, trace_id in await cursor.fetchall()}

    async def count(self) -> int:
        """How many fragments wait, of all collectors."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute("SELECT count(*) FROM fragments")  # the level of the table, which is bounded
            row = await cursor.fetchone()
            assert row is not None
            return int(str(row[0]))

    async def overdue(self, quiet: timedelta, longest: timedelta, limit: int) -> list[Trace]:
        """Traces of which nothing came for a while, and those with something older than ``longest``, the oldest first.

        Time is the database's, by which fragments are kept: clocks of collectors differ by more than a trace may be quiet. A
        fragment of another llm-slo's version is not looked at, so that it keeps nobody waiting.
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # traces that have waited long enough: by age, and by the key for what came later
                """
                SELECT tenant, trace_id FROM (
                    SELECT tenant, trace_id, received_at FROM fragments AS f
                    WHERE received_at < now() - %(quiet)s AND get_byte(span, 0) = %(version)s AND (
                        received_at < now() - %(longest)s OR NOT EXISTS (
                            SELECT FROM fragments AS later WHERE later.trace_id = f.trace_id
                                AND later.tenant = f.tenant AND later.received_at >= now() - %(quiet)s
                        )
                    )
                    ORDER BY received_at LIMIT %(limit)s
                ) AS overdue GROUP BY tenant, trace_id ORDER BY min(received_at), tenant, trace_id
                """,
                {"quiet": quiet, "longest": longest, "version": VERSION, "limit": limit},
            )
            return [Trace(str(tenant), _bytes(trace_id)) for tenant, trace_id in await cursor.fetchall()]

    async def read(self, traces: Sequence[Trace]) -> list[Fragment]:
        """The fragments of these traces, a trace after the other: LARGEST_READ at most, and LARGEST_TRACE of each."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # the fragments of some traces, by the key
                """
                SELECT f.tenant, f.trace_id, f.span_id, f.span
                FROM unnest(%(tenants)s::text[], %(traces)s::bytea[]) WITH ORDINALITY AS asked (tenant, trace_id, place)
                CROSS JOIN LATERAL (
                    SELECT * FROM fragments AS own
                    WHERE own.trace_id = asked.trace_id AND own.tenant = asked.tenant AND get_byte(span, 0) = %(version)s
                    ORDER BY own.span_id LIMIT %(trace_limit)s
                ) AS f
                ORDER BY asked.place, f.span_id LIMIT %(limit)s
                """,
                {
                    **dict(zip(("tenants", "traces"), _columns(traces), strict=True)),
                    "version": VERSION,
                    "trace_limit": LARGEST_TRACE,
                    "limit": LARGEST_READ,
                },
            )
            rows = [Fragment(str(row[0]), _bytes(row[1]), _bytes(row[2]), _bytes(row[3])) for row in await cursor.fetchall()]
        if len(rows) < LARGEST_READ:
            return rows
        # The last trace may have been cut off, unless there is no other.
        return [row for row in rows if row.trace != rows[-1].trace or row.trace == rows[0].trace]

    async def seen(self, trace_ids: Collection[bytes], since: datetime, until: datetime) -> list[Seen]:
        """Rows of gateways and clients that ended in a stretch of time and belong to one of these traces.

        There is no index on the trace: what is read is the part of the key between the two times, some 15 ms for the minute and
        a half of a thousand rows a second that calls of a few seconds need.
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # rows of traces, by the time of their end
                """
                SELECT t.name, r.trace_id, r.observed_by, r.started_at, r.ended_at, r.request_id
                FROM requests AS r JOIN tenants AS t ON t.id = r.tenant_id
                WHERE r.ended_at BETWEEN %s AND %s AND r.trace_id = ANY(%s::bytea[])
                """,
                (since, until, list(trace_ids)),
            )
            rows: list[tuple[Any, ...]] = await cursor.fetchall()
        return [Seen(name, trace_id, ObservedBy(observed_by), *rest) for name, trace_id, observed_by, *rest in rows]


async def insert(connection: Connection, fragments: Sequence[Fragment]) -> int:
    """Keep fragments, in the order of their key. Returns how many of them were not there yet.

    One that waits longer is kept as one that came later.
    """
    unique = {(one.trace_id, one.span_id, one.tenant): one for one in reversed(fragments)}
    ordered = [unique[key] for key in sorted(unique)]
    cursor = await connection.execute(
        # fragments that are new
        "INSERT INTO fragments (received_at, trace_id, span_id, tenant, span) "
        "SELECT now() + patience, trace_id, span_id, tenant, span "
        "FROM unnest(%s::interval[], %s::bytea[], %s::bytea[], %s::text[], %s::bytea[]) "
        "AS new (patience, trace_id, span_id, tenant, span) ON CONFLICT DO NOTHING",
        (
            [timedelta(seconds=one.patience_seconds) for one in ordered],
            [one.trace_id for one in ordered],
            [one.span_id for one in ordered],
            [one.tenant for one in ordered],
            [one.payload for one in ordered],
        ),
    )
    return cursor.rowcount


async def take(connection: Connection, takings: Sequence[Taking]) -> set[Trace]:
    """Delete fragments. Returns the traces whose fragments were all there and are now gone; of others nothing is touched.

    A trace that another collector is closing is left to it.
    """
    cursor = await connection.execute(
        # traces that nobody else is closing
        "SELECT tenant, trace_id FROM unnest(%s::text[], %s::bytea[]) AS asked (tenant, trace_id) "
        "WHERE pg_try_advisory_xact_lock(%s, hashtext(tenant || encode(trace_id, 'hex')))",
        (*_columns([taking.trace for taking in takings]), _LOCK),
    )
    ours = {Trace(*row) for row in await cursor.fetchall()}
    keys = _keys([taking for taking in takings if taking.trace in ours])
    cursor = await connection.execute(
        # what is still there of what was read, in a snapshot that is newer than the locks
        "SELECT tenant, trace_id, count(*) FROM fragments JOIN unnest(%s::text[], %s::bytea[], %s::bytea[]) "
        "AS asked (tenant, trace_id, span_id) USING (tenant, trace_id, span_id) GROUP BY tenant, trace_id",
        keys,
    )
    there: Counter[Trace] = Counter({Trace(tenant, trace_id): count for tenant, trace_id, count in await cursor.fetchall()})
    whole = [taking for taking in takings if taking.trace in ours and there[taking.trace] == len(taking.span_ids)]
    await connection.execute(
        # fragments that are closed with this transaction
        "DELETE FROM fragments AS f USING unnest(%s::text[], %s::bytea[], %s::bytea[]) AS asked (tenant, trace_id, span_id) "
        "WHERE f.trace_id = asked.trace_id AND f.span_id = asked.span_id AND f.tenant = asked.tenant",
        _keys(whole),
    )
    return {taking.trace for taking in whole}


def _columns(traces: Collection[Trace]) -> tuple[list[str], list[bytes]]:
    return [trace.tenant for trace in traces], [trace.trace_id for trace in traces]


def _keys(takings: Sequence[Taking]) -> tuple[list[str], list[bytes], list[bytes]]:
    keys = [(*taking.trace, span_id) for taking in takings for span_id in taking.span_ids]
    return [key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
