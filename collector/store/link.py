"""Links in Postgres: written with rows, read by the one joiner, which fills in what engines tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from struct import pack
from typing import Any

from psycopg import AsyncConnection

from collector import telemetry
from collector.link import LASTS, SLACK, Link, Pair, Row
from collector.request import TokenProvenance
from collector.schema import UNKNOWN
from collector.store import twin
from collector.store.connection import Database

Connection = AsyncConnection[Any]
Pairing = Callable[[Iterable[Link]], Sequence[Pair]]

TELLING_A_ROUND = 2000
"""Engines' rows of one round, the last ones: some 100 ms of work. Those that find nobody, because clocks differ or a trace is
odd, must not keep the others from their turn."""
_LOCK = 0x6C73_0005
"""Advisory lock of the one joiner."""
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_COLUMNS = 8
_EPOCH, _MICROSECOND = datetime(2000, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_ROW = "ended_at, span_id, trace_id, tenant_id, started_at"

_TELLING = f"""
WITH telling AS (
    SELECT DISTINCT {_ROW} FROM links AS told
    WHERE tells AND received_at > %(since)s
      AND EXISTS (SELECT FROM links AS asks WHERE asks.key = told.key AND NOT asks.tells)
    ORDER BY ended_at DESC, span_id, trace_id, tenant_id, started_at LIMIT {TELLING_A_ROUND}
), keys AS (
    SELECT key, {_ROW} FROM links JOIN telling USING ({_ROW}) WHERE tells
)
SELECT key, true, {_ROW} FROM keys
UNION
SELECT key, false, {_ROW} FROM links WHERE NOT tells AND key IN (SELECT key FROM keys)
    AND (key <> trace_id OR ended_at >= (SELECT min(ended_at) FROM telling) - interval '{SLACK.total_seconds()} s')
"""

_UNCOUNTED = "requests.input_tokens IS NULL AND requests.output_tokens IS NULL"
_INPUT_TOKENS = f"CASE WHEN {_UNCOUNTED} THEN told.input_tokens ELSE requests.input_tokens END"
_FILLED = {
    "linked_at": "%(now)s",
    # Counts come together or not at all, for they have one provenance.
    "input_tokens": _INPUT_TOKENS,
    "output_tokens": f"CASE WHEN {_UNCOUNTED} THEN told.output_tokens ELSE requests.output_tokens END",
    "token_provenance": f"CASE WHEN {_UNCOUNTED} AND told.input_tokens IS NOT NULL THEN {int(TokenProvenance.ENGINE)} "
    "ELSE requests.token_provenance END",
    # Of what is unknown, least() would take the other.
    "cached_tokens": "CASE WHEN requests.cached_tokens IS NULL AND told.cached_tokens IS NOT NULL "
    f"THEN least(told.cached_tokens, {_INPUT_TOKENS}) ELSE requests.cached_tokens END",
    "replica_id": f"CASE WHEN requests.replica_id = {UNKNOWN} THEN told.replica_id ELSE requests.replica_id END",
    **{
        name: f"coalesce(requests.{name}, told.{name})"
        for name in ("queue_seconds", "prefill_seconds", "decode_seconds", "preemptions", "finish_reason")
    },
}
"""What an engine tells, where the row does not say it itself."""
_FILL = f"""
WITH {twin.PAIRS}, told AS (
    -- The sequences of one call share their prompt, and are together what it generated.
    SELECT asks_at, asks_span, asks_trace, asks_tenant,
        max(cached_tokens) AS cached_tokens, max(input_tokens) AS input_tokens, sum(output_tokens)::int4 AS output_tokens,
        max(queue_seconds) AS queue_seconds, max(prefill_seconds) AS prefill_seconds, max(decode_seconds) AS decode_seconds,
        sum(preemptions)::int4 AS preemptions, min(finish_reason) AS finish_reason, max(replica_id) AS replica_id
    FROM pairs JOIN engine_requests ON ended_at = tells_at AND span_id = tells_span AND trace_id = tells_trace
        AND tenant_id = tells_tenant AND ended_at BETWEEN %(tells_from)s AND %(tells_to)s
    GROUP BY asks_at, asks_span, asks_trace, asks_tenant
)
UPDATE requests SET {", ".join(f"{name} = {value}" for name, value in _FILLED.items())} FROM told
WHERE ended_at = asks_at AND span_id = asks_span AND trace_id = asks_trace AND tenant_id = asks_tenant
    AND ended_at BETWEEN %(asks_from)s AND %(asks_to)s
RETURNING ended_at
"""


async def write(connection: Connection, links: Sequence[Link], received_at: datetime) -> None:
    """Keep links, in the order of their key. Those of a row that is new cannot be there."""
    async with connection.cursor().copy(
        # what rows of this transaction have in common with others
        f"COPY links (key, tells, {_ROW}, received_at) FROM STDIN (FORMAT BINARY)"
    ) as copy:
        await copy.write(b"".join((_HEADER, *sorted(_written(links, received_at)), _TRAILER)))


def _written(links: Iterable[Link], received_at: datetime) -> Iterator[bytes]:
    """Links as COPY has them in binary. There are two of most rows, and all that is in them has a size of its own."""
    received = _since_2000(received_at)
    last: Row | None = None
    rest = b""
    for link in links:
        row = link.row
        if row is not last:
            last, span, trace = row, row.span_id, row.trace_id
            times = (_since_2000(row.ended_at), _since_2000(row.started_at))
            ids = pack(f"!i{len(span)}si{len(trace)}s", len(span), span, len(trace), trace)
            rest = pack("!iq", 8, times[0]) + ids + pack("!iiiqiq", 4, row.tenant_id, 8, times[1], 8, received)
        yield pack(f"!hi{len(link.key)}si?", _COLUMNS, len(link.key), link.key, 1, link.tells) + rest


def _since_2000(at: datetime) -> int:
    """Postgres' own count of microseconds."""
    return (at - _EPOCH) // _MICROSECOND


class LinkStore:
    """What the joiner does in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def join(self, pair: Pairing, now: datetime) -> int:
        """One round: read who tells and who asks, fill in what is told, and let go of who told. Returns the rows that told.

        Another collector may be at it: then there is nothing to do here.

        :raises StoreUnavailable: when Postgres did not commit
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # one joiner at a time, until this transaction ends
                "SELECT pg_try_advisory_xact_lock(%s)",
                (_LOCK,),
            )
            if await cursor.fetchone() != (True,):
                return 0
            cursor = await connection.execute(_TELLING, {"since": now - LASTS})
            pairs = pair([_link(values) for values in await cursor.fetchall()])
            twins, calls = [one for one in pairs if one.twins], [one for one in pairs if not one.twins]
            if twins:
                await twin.merge(connection, twins, now)
            if calls:
                await _fill(connection, calls, now)
                await _let_go(connection, {one.tells for one in calls})
        telemetry.ENGINE_ROWS_MERGED.inc(len(twins))
        return len({one.tells for one in pairs})

    async def forget(self, now: datetime) -> None:
        """Let go of what nobody asked about, or told, in time.

        :raises StoreUnavailable: when Postgres did not commit
        """
        async with self._database.transaction() as connection:
            await connection.execute(
                # links that are too old
                "DELETE FROM links WHERE received_at <= %s",
                (now - LASTS,),
            )


def _link(values: Sequence[Any]) -> Link:
    key, tells, *row = values
    return Link(key, tells, Row(*row))


async def _fill(connection: Connection, pairs: Sequence[Pair], now: datetime) -> None:
    """Fill in, and mark the minutes of what changed."""
    cursor = await connection.execute(_FILL, {"now": now, **twin.parameters(pairs)})
    await twin.mark(connection, [ended_at for (ended_at,) in await cursor.fetchall()])


async def _let_go(connection: Connection, rows: Iterable[Row]) -> None:
    told = sorted(rows)
    await connection.execute(
        # links of rows that have told; a twin may still come
        """
        DELETE FROM links
        USING unnest(%s::timestamptz[], %s::bytea[], %s::bytea[], %s::int4[]) AS told (at, span, trace, tenant)
        WHERE tells AND length(key) = 16 AND ended_at = at AND span_id = span AND trace_id = trace AND tenant_id = tenant
        """,
        (
            [row.ended_at for row in told],
            [row.span_id for row in told],
            [row.trace_id for row in told],
            [row.tenant_id for row in told],
        ),
    )
