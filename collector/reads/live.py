"""What is happening now: the last seconds of requests, and how each replica is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from collector.event import EventKind
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDeath:
    """A death or a memory fault of an engine, as its log told."""

    at: datetime
    replica: str
    kind: EventKind
    cause: str
    """``collector.death_sign.Says``, or ``unknown``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """Notifications that one sink has not taken yet."""

    sink: str
    count: int
    since: datetime
    """When the oldest was written."""
    attempts: int
    """The most that one of them took."""
    last_error: str | None


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


async def deaths(connection: AsyncConnection[Any], since: datetime) -> list[EngineDeath]:
    """What engines' logs told of their deaths, the newest first."""
    cursor = await connection.execute(
        # deaths and their causes
        """
        SELECT at, replicas.name, kind, coalesce(detail ->> 'cause', 'unknown')
        FROM events JOIN replicas ON replicas.id = events.replica_id
        WHERE at > %s AND kind = ANY(%s) ORDER BY at DESC, events.id DESC LIMIT 5
        """,
        (since, [EventKind.DEATH.value, EventKind.OOM.value]),
    )
    return [
        EngineDeath(at=at, replica=replica, kind=EventKind(kind), cause=cause)
        for at, replica, kind, cause in await cursor.fetchall()
    ]


async def undelivered(connection: AsyncConnection[Any]) -> list[Undelivered]:
    """What the outbox still holds, by sink."""
    cursor = await connection.execute(
        # notifications that wait, by sink, with the error that was met last
        """
        SELECT sink, count(*), min(created_at), max(attempts), (array_agg(last_error ORDER BY attempts DESC))[1]
        FROM outbox WHERE delivered_at IS NULL AND failed_at IS NULL GROUP BY sink ORDER BY sink
        """
    )
    return [
        Undelivered(sink=sink, count=count, since=since, attempts=attempts, last_error=error)
        for sink, count, since, attempts, error in await cursor.fetchall()
    ]


async def count_rows(connection: AsyncConnection[Any]) -> int:
    """All rows of requests, of every observer. Reads both tables whole."""
    # count the rows
    cursor = await connection.execute("SELECT (SELECT count(*) FROM requests) + (SELECT count(*) FROM engine_requests)")
    row = await cursor.fetchone()
    assert row is not None, "an aggregate without GROUP BY returns one row"
    return int(row[0])


async def known_traces(connection: AsyncConnection[Any], since: datetime, observed_by: ObservedBy) -> set[str]:
    """Trace ids, in lower-case hex, of the requests that ended since a time, as one observer saw them."""
    cursor = await connection.execute(
        # traces that have a row
        "SELECT encode(trace_id, 'hex') FROM requests WHERE ended_at >= %s AND observed_by = %s",
        (since, int(observed_by)),
    )
    return {trace for (trace,) in await cursor.fetchall()}


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
