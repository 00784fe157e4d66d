"""Rollups and verdicts by another way: in Python, from the requests themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from collector.objective import Objective, judge
from collector.request import ObservedBy, Operation, Outcome, Request, TrafficClass
from collector.rollup import LEVELS
from collector.sketch import sketch

_ROLLUP = """
SELECT {time}, t.name, m.name, r.name, observed_by, outcome,
    requests, input_tokens, cached_tokens, output_tokens, rows_with_ttft,
    ttft_seconds_buckets, ttft_seconds_counts, input_tokens_buckets, input_tokens_counts
FROM {table} JOIN tenants t ON t.id = tenant_id JOIN models m ON m.id = model_id JOIN replicas r ON r.id = replica_id
"""
_REQUESTS = """
SELECT trace_id, span_id, started_at, ended_at, observed_by, outcome, operation, traffic_class, t.name AS tenant,
    m.name AS requested_model, nullif(r.name, 'unknown') AS replica, e.name AS environment,
    input_tokens, cached_tokens, output_tokens, ttft_seconds, latency_seconds
FROM requests JOIN tenants t ON t.id = tenant_id JOIN models m ON m.id = model_id JOIN replicas r ON r.id = replica_id
    JOIN environments e ON e.id = environment_id
"""
_VERDICTS = """
SELECT objective_id, labels, minute, sum(good)::int, sum(bad)::int FROM ({}) AS verdicts
JOIN streams ON streams.id = stream_id GROUP BY 1, 2, 3
"""
_MINUTES = "SELECT stream_id, minute, good, bad FROM slo_minute"
_PULSES = "SELECT stream_id, date_trunc('minute', second, 'UTC') AS minute, good, bad FROM pulses"
Verdicts = dict[tuple[str, str, datetime], tuple[int, int]]
"""Good and bad requests by objective, labels of the stream, and minute."""


def expected_rollup(requests: Iterable[Request], everything: str, time: str = "minute") -> set[tuple[Any, ...]]:
    """What rollups must say of requests, by minute, hour or day; ``everything`` stands for all of a level."""
    smaller = {"minute": {}, "hour": {"minute": 0}, "day": {"minute": 0, "hour": 0}}[time]
    groups: dict[tuple[Any, ...], list[Request]] = defaultdict(list)
    for one in requests:
        for tenant, model, replica in LEVELS:
            groups[
                one.ended_at.replace(second=0, microsecond=0, **smaller),
                one.tenant if tenant else everything,
                one.model if model else everything,
                (one.replica or "unknown") if replica else everything,
                one.observed_by,
                one.outcome,
            ].append(one)
    result = set()
    for key, members in groups.items():
        ttfts = [one.ttft_seconds for one in members if one.ttft_seconds is not None]
        inputs = [float(one.input_tokens) for one in members if one.input_tokens is not None]
        sketches: tuple[Any, ...] = (None,) * 4
        if key[1] == everything or time != "minute":
            sketches = (*_arrays(ttfts), *_arrays(inputs))
        result.add(
            (
                *key,
                len(members),
                sum(one.input_tokens or 0 for one in members),
                sum(one.cached_tokens or 0 for one in members),
                sum(one.output_tokens or 0 for one in members),
                len(ttfts),
                *sketches,
            )
        )
    return result


def _arrays(values: list[float]) -> tuple[Any, Any]:
    counts = sorted(sketch(values).items())
    if not counts:
        return None, None
    return tuple(index for index, _ in counts), tuple(count for _, count in counts)


async def actual_rollup(look: AsyncConnection[Any], time: str = "minute") -> set[tuple[Any, ...]]:
    """What they say."""
    cursor = await look.execute(_ROLLUP.format(time=time, table=f"rollup_{time}"))
    return {tuple(tuple(part) if isinstance(part, list) else part for part in row) for row in await cursor.fetchall()}


def expected_verdicts(requests: Iterable[Request], objectives: Sequence[Objective]) -> Verdicts:
    """What must be counted of requests."""
    counted: Counter[tuple[str, str, datetime, bool]] = Counter()
    for one in requests:
        minute = one.ended_at.replace(second=0, microsecond=0)
        counted.update((verdict.objective_id, verdict.labels, minute, verdict.good) for verdict in judge(one, objectives))
    keys = {(objective, labels, minute) for objective, labels, minute, _ in counted}
    return {key: (counted[(*key, True)], counted[(*key, False)]) for key in keys}


async def folded_verdicts(look: AsyncConnection[Any]) -> Verdicts:
    """What minutes hold."""
    return await _verdicts(look, _MINUTES)


async def pulsed_verdicts(look: AsyncConnection[Any]) -> Verdicts:
    """What pulses hold, by minute; they live for two hours."""
    return await _verdicts(look, _PULSES)


async def _verdicts(look: AsyncConnection[Any], source: str) -> Verdicts:
    cursor = await look.execute(_VERDICTS.format(source))
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in await cursor.fetchall()}


async def read_requests(look: AsyncConnection[Any]) -> list[Request]:
    """The rows of gateways and clients, as far as rollups and verdicts are made from them."""
    async with look.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_REQUESTS)
        return [_request(row) for row in await cursor.fetchall()]


def _request(row: dict[str, Any]) -> Request:
    kinds = {"observed_by": ObservedBy, "outcome": Outcome, "operation": Operation, "traffic_class": TrafficClass}
    return Request(dialect="", **(row | {name: kind(row[name]) for name, kind in kinds.items()}))
