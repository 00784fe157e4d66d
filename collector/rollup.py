"""Minutes, recomputed from rows when their rows changed; pulses folded into minutes of verdicts.

A transaction that adds or changes rows marks their minutes. A marked minute is recomputed as a whole, so that the result is
the same whatever happened in between: a resend, a late row, a filled-in column, a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from collector.schema import ALL, SKETCHES
from collector.sketch import LARGEST, LOG_GAMMA, SMALLEST, VERSION
from collector.store.connection import Database

Connection = AsyncConnection[Any]

MINUTES_A_ROUND = 10
PULSES_A_ROUND = 20_000
_LOCK = 0x6C73_0003
"""Advisory lock of the one roller: two would do the same work twice, and nothing else would be wrong."""

LEVELS = (
    # tenant, model, replica: 1 where rows of this level are told apart by it
    (0, 0, 0),
    (0, 1, 0),
    (0, 1, 1),
    (1, 0, 0),
    (1, 1, 0),
)
"""The marginal rows of every minute. A query picks one level; a sum over two levels counts twice."""

_MEASURES = {
    "ttft_seconds": "ttft_seconds",
    "tpot_seconds": "CASE WHEN output_tokens > 1 AND latency_seconds >= ttft_seconds "
    "THEN (latency_seconds - ttft_seconds) / (output_tokens - 1) END",
    "latency_seconds": "latency_seconds",
    "queue_seconds": "queue_seconds",
    "input_tokens": "input_tokens",
    "context_tokens": "input_tokens + output_tokens",
}
"""What each sketch is made of."""
assert _MEASURES.keys() == SKETCHES.keys()

_KEY = "tenant_id, observed_by, environment_id, traffic_class, operation, model_id, replica_id, outcome, billing_flags"
_LEVEL = f"(VALUES {', '.join(map(str, LEVELS))}) AS level (by_tenant, by_model, by_replica)"
_AT_LEVEL = (
    f"tenant_id * by_tenant + {ALL} AS tenant_id, observed_by, environment_id, traffic_class, operation, "
    f"model_id * by_model + {ALL} AS model_id, replica_id * by_replica + {ALL} AS replica_id, outcome, billing_flags"
)
BUCKET = f"ceil(ln(least(greatest(value, {SMALLEST}), {LARGEST})) / {LOG_GAMMA!r})::int2"
"""The sketch's bucket of ``value``, as ``collector.sketch.bucket`` computes it."""

_RECOMPUTE = f"""
WITH facts AS (
    SELECT tenant_id, observed_by, environment_id, traffic_class, operation, model_id, replica_id, outcome, billing_flags,
        sampling_weight, input_tokens, cached_tokens, output_tokens, reasoning_tokens,
        ttft_seconds, latency_seconds, queue_seconds
    FROM requests WHERE ended_at >= %(minute)s AND ended_at < %(next)s
    UNION ALL
    SELECT tenant_id, observed_by, environment_id, traffic_class, operation, model_id, replica_id, outcome, 0::int2,
        sampling_weight, input_tokens, cached_tokens, output_tokens, NULL, ttft_seconds, latency_seconds, queue_seconds
    FROM engine_requests WHERE ended_at >= %(minute)s AND ended_at < %(next)s
), leveled AS (
    SELECT {_AT_LEVEL}, by_tenant, sampling_weight, input_tokens, cached_tokens, output_tokens, reasoning_tokens,
        ttft_seconds, latency_seconds, queue_seconds
    FROM facts CROSS JOIN {_LEVEL}
), sums AS (
    SELECT {_KEY}, count(*) AS requests, sum(sampling_weight) AS weighted_requests,
        coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens,
        coalesce(sum(input_tokens) FILTER (WHERE cached_tokens IS NOT NULL), 0) AS cacheable_tokens,
        coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
        count(*) FILTER (WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL) AS rows_with_tokens,
        count(ttft_seconds) AS rows_with_ttft
    FROM leveled GROUP BY {_KEY}
), cells AS (
    SELECT {_KEY}, quantity, {BUCKET} AS bucket, count(*)::int4 AS rows
    FROM leveled CROSS JOIN LATERAL (
        VALUES {", ".join(f"('{name}', ({measure})::float8)" for name, measure in _MEASURES.items())}
    ) AS measured (quantity, value)
    WHERE by_tenant = 0 AND value IS NOT NULL
    GROUP BY {_KEY}, quantity, bucket
), sketches AS (
    SELECT {_KEY}, {
    ", ".join(
        f"array_agg(bucket ORDER BY bucket) FILTER (WHERE quantity = '{name}') AS {name}_buckets, "
        f"array_agg(rows ORDER BY bucket) FILTER (WHERE quantity = '{name}') AS {name}_counts"
        for name in SKETCHES
    )
}
    FROM cells GROUP BY {_KEY}
)
INSERT INTO rollup_minute (
    minute, {_KEY}, requests, weighted_requests, input_tokens, cached_tokens, cacheable_tokens, output_tokens,
    reasoning_tokens, rows_with_tokens, rows_with_ttft, sketch_version,
    {", ".join(f"{name}_buckets, {name}_counts" for name in SKETCHES)}
)
SELECT %(minute)s, {_KEY}, requests, weighted_requests, input_tokens, cached_tokens, cacheable_tokens, output_tokens,
    reasoning_tokens, rows_with_tokens, rows_with_ttft, CASE WHEN tenant_id = {ALL} THEN {VERSION} END,
    {", ".join(f"{name}_buckets, {name}_counts" for name in SKETCHES)}
FROM sums LEFT JOIN sketches USING ({_KEY})
"""


async def roll(database: Database, now: datetime) -> timedelta:
    """One round: recompute the oldest marked minutes, fold new pulses.

    :returns: the age of the oldest minute that still waits; zero where none does
    :raises StoreUnavailable: when Postgres did not commit; the next round does it again
    """
    async with database.transaction() as connection:
        # A snapshot: rows that commit while a minute is recomputed have a mark that this round does not see.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        if not await _locked(connection):
            return timedelta(0)
        for minute, marks in await _marked(connection):
            await recompute(connection, minute)
            # the marks that were answered by this recomputation
            await connection.execute("DELETE FROM rollup_marks WHERE id = ANY(%s)", (marks,))
        await _fold(connection)
        oldest = await _oldest(connection)
    return timedelta(0) if oldest is None else now - oldest


async def recompute(connection: Connection, minute: datetime) -> None:
    """Replace the rollup of one minute by what its rows say now."""
    # the minute as it was
    await connection.execute("DELETE FROM rollup_minute WHERE minute = %s", (minute,))
    # the minute as it is
    await connection.execute(_RECOMPUTE, {"minute": minute, "next": minute + timedelta(minutes=1)})


async def _locked(connection: Connection) -> bool:
    # whether this transaction is the roller
    cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
    row = await cursor.fetchone()
    return row is not None and row[0] is True


async def _marked(connection: Connection) -> Sequence[tuple[datetime, list[int]]]:
    cursor = await connection.execute(
        # minutes to recompute, the newest first: they are what somebody is looking at
        "SELECT minute, array_agg(id) FROM rollup_marks GROUP BY minute ORDER BY minute DESC LIMIT %s",
        (MINUTES_A_ROUND,),
    )
    return await cursor.fetchall()


async def _oldest(connection: Connection) -> datetime | None:
    cursor = await connection.execute("SELECT min(minute) FROM rollup_marks")  # what still waits
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def _fold(connection: Connection) -> None:
    """Add pulses that are not folded yet to their minutes."""
    await connection.execute(
        # each pulse once: the flag and the sum change in one statement
        """
        WITH taken AS (
            UPDATE pulses SET folded = true
            WHERE id IN (SELECT id FROM pulses WHERE NOT folded ORDER BY id LIMIT %s)
            RETURNING second, stream_id, good, bad
        )
        INSERT INTO slo_minute (minute, stream_id, good, bad)
        SELECT date_trunc('minute', second, 'UTC'), stream_id, sum(good), sum(bad) FROM taken GROUP BY 1, 2
        ON CONFLICT (minute, stream_id) DO UPDATE
        SET good = slo_minute.good + excluded.good, bad = slo_minute.bad + excluded.bad
        """,
        (PULSES_A_ROUND,),
    )
