"""Twins in Postgres: a record of our plugin and vLLM's own span of the same sequence become one row, the span's.

What became of a record is remembered as long as links last, under the record's span id, where nobody tells: so that a record
that is sent again is not a new row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from collector.link import Pair
from collector.schema import UNKNOWN

Connection = AsyncConnection[Any]

PAIRS = """pairs AS (
    SELECT * FROM unnest(
        %(asks_at)s::timestamptz[], %(asks_span)s::bytea[], %(asks_trace)s::bytea[], %(asks_tenant)s::int4[],
        %(tells_at)s::timestamptz[], %(tells_span)s::bytea[], %(tells_trace)s::bytea[], %(tells_tenant)s::int4[]
    ) AS pair (asks_at, asks_span, asks_trace, asks_tenant, tells_at, tells_span, tells_trace, tells_tenant)
)"""
"""Pairs as a table. ``parameters`` gives its values, and the ends of both sides for the partitions."""

_ROW = "ended_at, span_id, trace_id, tenant_id"
_ASKS = "asks_at, asks_span, asks_trace, asks_tenant"
_TELLS = "tells_at, tells_span, tells_trace, tells_tenant"
_FILLED = {
    "cached_tokens": "CASE WHEN span.cached_tokens IS NULL AND record.cached_tokens IS NOT NULL "
    "THEN least(record.cached_tokens, span.input_tokens) ELSE span.cached_tokens END",
    "replica_id": f"CASE WHEN span.replica_id = {UNKNOWN} THEN record.replica_id ELSE span.replica_id END",
    "model_id": f"CASE WHEN span.model_id = {UNKNOWN} THEN record.model_id ELSE span.model_id END",
    **{name: f"coalesce(span.{name}, record.{name})" for name in ("preemptions", "finish_reason", "response_model_id")},
}
"""What a record tells, where vLLM's span does not say it itself. The phases are the same in both."""
_MERGE = f"""
WITH {PAIRS}, record AS (
    DELETE FROM engine_requests USING pairs WHERE ({_ROW}) = ({_TELLS}) AND ended_at BETWEEN %(tells_from)s AND %(tells_to)s
    RETURNING pairs.*, {", ".join(_FILLED)}
)
UPDATE engine_requests AS span SET {", ".join(f"{name} = {value}" for name, value in _FILLED.items())} FROM record
WHERE ({_ROW}) = ({_ASKS}) AND ended_at BETWEEN %(asks_from)s AND %(asks_to)s
RETURNING ended_at, tells_at
"""
_HAND_ON = f"""
WITH {PAIRS}, record AS (
    DELETE FROM links USING pairs WHERE tells AND ({_ROW}) = ({_TELLS}) RETURNING key, {_ASKS}
), span AS (
    DELETE FROM links USING pairs WHERE NOT tells AND length(key) > 16 AND ({_ROW}) = ({_ASKS})
    RETURNING links.started_at, pairs.*
)
INSERT INTO links (key, tells, {_ROW}, started_at, received_at)
SELECT key, true, {_ASKS}, started_at, %(now)s FROM record JOIN span USING ({_ASKS}) WHERE length(key) = 16
UNION SELECT asks_trace, true, {_ASKS}, started_at, %(now)s FROM span
UNION SELECT tells_span, false, {_TELLS}, started_at, %(now)s FROM span
ON CONFLICT DO NOTHING
"""


async def merge(connection: Connection, twins: Sequence[Pair], now: datetime) -> None:
    """Records become part of their spans' rows, which tell their callers, those too that they told without it."""
    values = parameters(twins)
    # what only the record says, into the span's row; the record's row goes
    cursor = await connection.execute(_MERGE, values)
    await mark(connection, [at for row in await cursor.fetchall() for at in row])
    # whom the record would tell, the span tells; the record is remembered
    await connection.execute(_HAND_ON, {"now": now, **values})


async def remembered(connection: Connection, span_ids: Sequence[bytes]) -> set[bytes]:
    """Of records, those that are part of a span's row already."""
    cursor = await connection.execute(
        # records that were merged
        "SELECT key FROM links WHERE NOT tells AND key = ANY(%s)",
        (list(span_ids),),
    )
    return {bytes(key) for (key,) in await cursor.fetchall()}


async def mark(connection: Connection, times: Iterable[datetime]) -> None:
    """Have the minutes of changed rows computed again."""
    await connection.execute(
        # minutes to recompute
        "INSERT INTO rollup_marks (minute) SELECT unnest(%s::timestamptz[])",
        (sorted({at.replace(second=0, microsecond=0) for at in times}),),
    )


def parameters(pairs: Sequence[Pair]) -> dict[str, object]:
    """The values of ``PAIRS``, and from when to when the rows of both sides are."""
    values: dict[str, object] = {}
    for side in ("asks", "tells"):
        rows = [getattr(one, side) for one in pairs]
        values |= {
            f"{side}_at": [row.ended_at for row in rows],
            f"{side}_span": [row.span_id for row in rows],
            f"{side}_trace": [row.trace_id for row in rows],
            f"{side}_tenant": [row.tenant_id for row in rows],
            f"{side}_from": min(row.ended_at for row in rows),
            f"{side}_to": max(row.ended_at for row in rows),
        }
    return values
