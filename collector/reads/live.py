"""What is happening now: the last seconds of requests, and how each replica is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from collector.request import ObservedBy, Outcome, TrafficClass
from collector.sample import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests that ended within a window, as one observer saw them. Rates follow by dividing by ``seconds``."""

    seconds: float
    requests: int
    outcomes: Mapping[Outcome, int]
    input_tokens: int
    cached_tokens: int
    cacheable_tokens: int
    """Prompt tokens of the rows that state cached tokens: the hit rate's denominator."""
    output_tokens: int
    ttft_p50_seconds: float | None
    ttft_p99_seconds: float | None
    latency_p50_seconds: float | None
    latency_p99_seconds: float | None

    @property
    def cache_hit_ratio(self) -> float | None:
        """Cached share of the prompt tokens, from sums."""
        return self.cached_tokens / self.cacheable_tokens if self.cacheable_tokens else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaNow:
    """One replica as its last health check and scrape saw it."""

    replica: str
    model: str
    health: Health
    health_since: datetime
    requests_running: float | None
    requests_waiting: float | None


async def traffic(
    connection: AsyncConnection[Any], now: datetime, window: timedelta, observed_by: ObservedBy = ObservedBy.GATEWAY
) -> Traffic:
    """The last ``window`` of traffic. Reads raw rows by their key: for windows of minutes, not for boards."""
    cursor = await connection.execute(
        # sums and quantiles of the window
        """
        SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0),
            coalesce(sum(input_tokens) FILTER (WHERE cached_tokens IS NOT NULL), 0), coalesce(sum(output_tokens), 0),
            percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY ttft_seconds),
            percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY latency_seconds)
        FROM requests
        WHERE ended_at > %(start)s AND ended_at <= %(now)s AND observed_by = %(observed_by)s AND traffic_class <> %(synthetic)s
        """,
        _window(now, window, observed_by),
    )
    row = await cursor.fetchone()
    assert row is not None, "an aggregate without GROUP BY returns one row"
    ttft, latency = row[5] or (None, None), row[6] or (None, None)
    return Traffic(
        seconds=window.total_seconds(),
        requests=row[0],
        outcomes=await _outcomes(connection, now, window, observed_by),
        input_tokens=row[1],
        cached_tokens=row[2],
        cacheable_tokens=row[3],
        output_tokens=row[4],
        ttft_p50_seconds=ttft[0],
        ttft_p99_seconds=ttft[1],
        latency_p50_seconds=latency[0],
        latency_p99_seconds=latency[1],
    )


async def replicas(connection: AsyncConnection[Any]) -> list[ReplicaNow]:
    """Every replica that is watched, by name."""
    cursor = await connection.execute(
        # how each replica is now
        """
        SELECT replicas.name, models.name, health, health_since, requests_running, requests_waiting
        FROM replica_states
        JOIN replicas ON replicas.id = replica_states.replica_id
        JOIN models ON models.id = replica_states.model_id
        ORDER BY replicas.name
        """
    )
    return [
        ReplicaNow(
            replica=replica,
            model=model,
            health=Health(health),
            health_since=since,
            requests_running=running,
            requests_waiting=waiting,
        )
        for replica, model, health, since, running, waiting in await cursor.fetchall()
    ]


async def _outcomes(
    connection: AsyncConnection[Any], now: datetime, window: timedelta, observed_by: ObservedBy
) -> dict[Outcome, int]:
    cursor = await connection.execute(
        # requests of the window by outcome
        """
        SELECT outcome, count(*) FROM requests
        WHERE ended_at > %(start)s AND ended_at <= %(now)s AND observed_by = %(observed_by)s AND traffic_class <> %(synthetic)s
        GROUP BY outcome ORDER BY outcome
        """,
        _window(now, window, observed_by),
    )
    return {Outcome(outcome): count for outcome, count in await cursor.fetchall()}


def _window(now: datetime, window: timedelta, observed_by: ObservedBy) -> dict[str, object]:
    return {
        "start": now - window,
        "now": now,
        "observed_by": int(observed_by),
        "synthetic": int(TrafficClass.SYNTHETIC),
    }
