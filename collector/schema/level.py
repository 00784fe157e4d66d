"""The levels of rollups, and how rows become sums and sketches: what the roller writes and what reads of raw rows repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from collector.schema.base import ALL
from collector.schema.rollup import SKETCHES
from collector.sketch import LARGEST, LOG_GAMMA, SMALLEST


class Level(NamedTuple):
    """1 for each of tenant, model and replica that the rows of this level are told apart by."""

    by_tenant: int
    by_model: int
    by_replica: int


LEVELS = (Level(0, 0, 0), Level(0, 1, 0), Level(0, 1, 1), Level(1, 0, 0), Level(1, 1, 0))
"""The marginal rows of every minute, hour and day. A query picks one level; a sum over two levels counts twice."""

DIMENSIONS = (
    "tenant_id",
    "observed_by",
    "environment_id",
    "traffic_class",
    "operation",
    "model_id",
    "replica_id",
    "outcome",
    "billing_flags",
)
"""The key of every rollup, after its time."""

SUMS: Mapping[str, str] = {
    "requests": "count(*)",
    "weighted_requests": "sum(sampling_weight)",
    "input_tokens": "coalesce(sum(input_tokens), 0)",
    "cached_tokens": "coalesce(sum(cached_tokens), 0)",
    "cacheable_tokens": "coalesce(sum(input_tokens) FILTER (WHERE cached_tokens IS NOT NULL), 0)",
    "output_tokens": "coalesce(sum(output_tokens), 0)",
    "reasoning_tokens": "coalesce(sum(reasoning_tokens), 0)",
    "rows_with_tokens": "count(*) FILTER (WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL)",
    "rows_with_ttft": "count(ttft_seconds)",
}
"""What rollups add up: the column, and what it is of a group of rows."""

MEASURES: Mapping[str, str] = {
    "ttft_seconds": "ttft_seconds",
    "tpot_seconds": "CASE WHEN output_tokens > 1 AND latency_seconds >= ttft_seconds "
    "THEN (latency_seconds - ttft_seconds) / (output_tokens - 1) END",
    "latency_seconds": "latency_seconds",
    "queue_seconds": "queue_seconds",
    "input_tokens": "input_tokens",
    "context_tokens": "input_tokens + output_tokens",
}
"""What each sketch is made of: an expression over the columns of one row."""
assert MEASURES.keys() == SKETCHES.keys()

BUCKET = f"ceil(ln(least(greatest(value, {SMALLEST}), {LARGEST})) / {LOG_GAMMA!r})::int2"
"""The sketch's bucket of ``value``, as ``collector.sketch.bucket`` computes it."""

FACTS = """(
    SELECT ended_at, tenant_id, observed_by, environment_id, traffic_class, operation, model_id, replica_id, outcome,
        billing_flags, sampling_weight, input_tokens, cached_tokens, output_tokens, reasoning_tokens,
        ttft_seconds, latency_seconds, queue_seconds
    FROM requests WHERE {where}
    UNION ALL
    SELECT ended_at, tenant_id, observed_by, environment_id, traffic_class, operation, model_id, replica_id, outcome,
        0::int2, sampling_weight, input_tokens, cached_tokens, output_tokens, NULL::int4,
        ttft_seconds, latency_seconds, queue_seconds
    FROM engine_requests WHERE {where}
) AS facts"""
"""Rows of every observer, as rollups take them. ``where`` goes by ``ended_at``, which reaches the partitions."""


def at_level(by_tenant: str, by_model: str, by_replica: str) -> str:
    """The key of a row at a level, whose three parts are SQL: 1 keeps the id, 0 makes it that of all."""
    return (
        f"tenant_id * {by_tenant} + {ALL} AS tenant_id, observed_by, environment_id, traffic_class, operation, "
        f"model_id * {by_model} + {ALL} AS model_id, replica_id * {by_replica} + {ALL} AS replica_id, outcome, billing_flags"
    )
