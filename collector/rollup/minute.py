"""Minutes, recomputed as a whole from rows, so that the result is the same whatever happened in between: a resend, a late row,
a filled-in column, a crash."""

from __future__ import annotations

from datetime import datetime

from collector.request import ObservedBy
from collector.rollup.age import MINUTE
from collector.rollup.statement import KEY, QUANTITIES, SKETCH_NAMES, SUM_NAMES, Connection, sketched
from collector.schema import ALL
from collector.schema.level import BUCKET, FACTS, LEVELS, MEASURES, SUMS, Level, at_level
from collector.sketch import VERSION

_ROWS = FACTS.format(where="ended_at >= %(minute)s AND ended_at < %(next)s")
_OBSERVED = f"(%(engine)s OR observed_by <> {ObservedBy.ENGINE:d})"


def _leveled(levels: tuple[Level, ...]) -> str:
    names = "level (by_tenant, by_model, by_replica)"
    return f"""
    SELECT {at_level("by_tenant", "by_model", "by_replica")}, by_tenant, sampling_weight, input_tokens, cached_tokens,
        output_tokens, reasoning_tokens, ttft_seconds, latency_seconds, queue_seconds
    FROM {_ROWS} CROSS JOIN (VALUES {", ".join(str(tuple(level)) for level in levels)}) AS {names}
    WHERE {_OBSERVED}
"""


def _cells(where: str) -> str:
    values = ", ".join(f"({number}, ({MEASURES[name]})::float8)" for name, number in QUANTITIES.items())
    return f"""
    SELECT {KEY}, quantity, {BUCKET} AS bucket, count(*)::int4 AS rows
    FROM leveled CROSS JOIN LATERAL (VALUES {values}) AS measured (quantity, value)
    WHERE value IS NOT NULL AND {where}
    GROUP BY {KEY}, quantity, bucket
"""


_RECOMPUTE = f"""
WITH leveled AS ({_leveled(LEVELS)}
), sums AS (
    SELECT {KEY}, {", ".join(f"{sum} AS {name}" for name, sum in SUMS.items())} FROM leveled GROUP BY {KEY}
), cells AS ({_cells("by_tenant = 0")}
), sketches AS ({sketched(KEY)})
INSERT INTO rollup_minute (minute, {KEY}, {SUM_NAMES}, sketch_version, {SKETCH_NAMES})
SELECT %(minute)s, {KEY}, {SUM_NAMES}, CASE WHEN tenant_id = {ALL} THEN {VERSION} END, {SKETCH_NAMES}
FROM sums LEFT JOIN sketches USING ({KEY})
"""

_SKETCH_TENANTS = f"""
WITH leveled AS ({_leveled(tuple(level for level in LEVELS if level.by_tenant))}
), cells AS ({_cells("true")}
), sketches AS ({sketched(KEY)})
INSERT INTO tenant_sketches (minute, {KEY}, sketch_version, {SKETCH_NAMES})
SELECT %(minute)s, {KEY}, {VERSION}, {SKETCH_NAMES} FROM sketches
"""


async def recompute(connection: Connection, minute: datetime, *, engine: bool = True) -> None:
    """Replace the rollup of one minute by what its rows say now.

    :param engine: whether the rows that engines observed are still there; else what was made of them stays
    """
    values = _values(minute, engine)
    # the minute as it was
    await connection.execute(f"DELETE FROM rollup_minute WHERE minute = %(minute)s AND {_OBSERVED}", values)
    # the minute as it is
    await connection.execute(_RECOMPUTE, values)


async def sketch_tenants(connection: Connection, minute: datetime, *, engine: bool = True) -> None:
    """Replace the sketches of one minute's tenants, which wait for their hour to be made of them."""
    values = _values(minute, engine)
    # the sketches as they were
    await connection.execute("DELETE FROM tenant_sketches WHERE minute = %(minute)s", values)
    # the sketches as they are
    await connection.execute(_SKETCH_TENANTS, values)


def _values(minute: datetime, engine: bool) -> dict[str, object]:
    return {"minute": minute, "next": minute + MINUTE, "engine": engine}
