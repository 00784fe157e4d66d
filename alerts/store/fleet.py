"""Reading the fleet, and what a page says beside the verdict: who is hurt, and what happened last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import sql
from psycopg.rows import class_row

from alerts.page import Failure, LastEvent
from alerts.store.leader import Connection
from alerts.symptoms import Fleet, ReplicaState
from collector.metrics import COUNTERS
from collector.objective import OUR_FAULT, Objective, Sli
from collector.request import ObservedBy, Outcome
from collector.sample import Health

RECENT = timedelta(minutes=5)
_BEFORE = timedelta(days=1)
_EVENTS = timedelta(minutes=15)
_FAILURE_ROWS = 200
"""Kinds of failure that are read for one page, the largest first: tenants times outcomes."""

_FINISHED = [family.name for family in COUNTERS if family.name.startswith("requests_finished_")]
_MEASURED = {
    Sli.TTFT: "ttft_seconds",
    Sli.LATENCY: "latency_seconds",
    Sli.TPOT: "(latency_seconds - ttft_seconds) / nullif(output_tokens - 1, 0)",
}


class Traffic(NamedTuple):
    """Whether engines work and whether spans tell of it."""

    finished_requests: float
    spans_recent: bool
    spans_before: bool


async def read_replicas(connection: Connection) -> list[ReplicaState]:
    """Every replica that was ever checked, as it is now."""
    cursor = await connection.execute(
        # replica states, with names
        """SELECT replicas.name, models.name, environments.name, clusters.name, health, health_status, health_since,
                  checked_at, ready_at, scraped_at, gauges_frozen_since, zombie
           FROM replica_states AS state
           JOIN replicas ON replicas.id = state.replica_id
           LEFT JOIN models ON models.id = state.model_id
           LEFT JOIN environments ON environments.id = state.environment_id
           LEFT JOIN clusters ON clusters.id = state.cluster_id
           ORDER BY state.replica_id"""
    )
    rows: Sequence[tuple[object, ...]] = await cursor.fetchall()
    return [_state(row) for row in rows]


def _state(row: tuple[object, ...]) -> ReplicaState:
    replica, model, environment, cluster, health, status, health_since, checked_at, ready_at, scraped_at, frozen, zombie = row
    assert isinstance(health, int)
    assert isinstance(health_since, datetime)
    assert isinstance(checked_at, datetime)
    return ReplicaState(
        replica=str(replica),
        model=str(model or "unknown"),
        environment=str(environment or "unknown"),
        cluster=str(cluster or "unknown"),
        health=Health(health),
        health_status=status if isinstance(status, int) else None,
        health_since=health_since,
        checked_at=checked_at,
        ready_at=_time(ready_at),
        scraped_at=_time(scraped_at),
        gauges_frozen_since=_time(frozen),
        zombie=bool(zombie),
    )


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


async def read_fleet(connection: Connection, traffic: Traffic) -> Fleet:
    """The fleet as it is now. ``traffic`` is read apart and less often."""
    replicas = await read_replicas(connection)
    # signs of life of the collectors
    cursor = await connection.execute("SELECT max(seen_at), max(started_at) FROM collectors")
    row = await cursor.fetchone()
    seen_at, started_at = row if row is not None else (None, None)
    return Fleet(replicas, _time(seen_at), _time(started_at), *traffic)


async def read_traffic(connection: Connection, observed_by: ObservedBy, now: datetime) -> Traffic:
    """Requests that engines finished by their own counters in the last 5 minutes, and whether rows of ``observed_by`` came."""
    total = sql.SQL(" + ").join(sql.SQL("coalesce({}, 0)").format(sql.Identifier(name)) for name in _FINISHED)
    cursor = await connection.execute(
        # growth of the counters of finished requests, by engine; a counter that was reset started again at 0
        sql.SQL(
            """SELECT coalesce(sum(CASE WHEN last >= first THEN last - first ELSE last END), 0) FROM (
                   SELECT (array_agg({total} ORDER BY scraped_at))[1] AS first,
                          (array_agg({total} ORDER BY scraped_at DESC))[1] AS last
                   FROM snapshots WHERE scraped_at > %s AND scraped_at <= %s AND layout_id IS NOT NULL
                   GROUP BY replica_id, engine, model_id
               ) AS engines"""
        ).format(total=total),
        (now - RECENT, now),
    )
    row = await cursor.fetchone()
    finished = row[0] if row is not None and isinstance(row[0], float) else 0.0
    recent = await _any_request(connection, observed_by, now - RECENT, now)
    before = recent or await _any_request(connection, observed_by, now - _BEFORE, now)
    return Traffic(finished, recent, before)


async def _any_request(connection: Connection, observed_by: ObservedBy, since: datetime, now: datetime) -> bool:
    cursor = await connection.execute(
        # whether any row of an observer is there
        "SELECT EXISTS (SELECT FROM requests WHERE ended_at > %s AND ended_at <= %s AND observed_by = %s)",
        (since, now, int(observed_by)),
    )
    return await cursor.fetchone() == (True,)


async def read_failures(connection: Connection, objective: Objective, model: str | None, now: datetime) -> list[Failure]:
    """Requests that the objective failed in the last 5 minutes, by tenant and outcome, the most frequent first."""
    measured = _MEASURED.get(objective.sli)
    failed = "outcome = ANY(%(faults)s)" if measured is None else f"({measured} > %(threshold)s OR outcome = %(timeout)s)"
    of_model = "true" if model is None else "model_id = (SELECT id FROM models WHERE name = %(model)s)"
    table = "engine_requests" if objective.observed_by is ObservedBy.ENGINE else "requests"
    cursor = await connection.execute(
        # failed requests of the last minutes, for the text of a page
        sql.SQL(
            """SELECT tenants.name, outcome, count(*) FROM {table} JOIN tenants ON tenants.id = tenant_id
               WHERE ended_at > %(since)s AND ended_at <= %(now)s AND observed_by = %(observer)s
                 AND traffic_class = ANY(%(classes)s) AND {failed} AND {of_model}
               GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %(limit)s"""
        ).format(table=sql.Identifier(table), failed=sql.SQL(failed), of_model=sql.SQL(of_model)),
        {
            "since": now - RECENT,
            "now": now,
            "observer": int(objective.observed_by),
            "classes": sorted(map(int, objective.traffic_classes)),
            "faults": sorted(map(int, OUR_FAULT)),
            "timeout": int(Outcome.TIMEOUT),
            "threshold": objective.threshold_seconds,
            "model": model,
            "limit": _FAILURE_ROWS,
        },
    )
    return [Failure(str(tenant), Outcome(int(str(code))), int(str(count))) for tenant, code, count in await cursor.fetchall()]


class _EventRow(NamedTuple):
    at: datetime
    kind: str
    replica: str
    detail: dict[str, object]


async def read_last_event(connection: Connection, model: str | None, replica: str | None, now: datetime) -> LastEvent | None:
    """The last event of a replica, or of any replica of a model, within a quarter of an hour."""
    cursor = connection.cursor(row_factory=class_row(_EventRow))
    await cursor.execute(
        # the last event, for the text of a page
        """SELECT at, kind, replicas.name AS replica, detail FROM events
           JOIN replicas ON replicas.id = replica_id LEFT JOIN models ON models.id = model_id
           WHERE at > %(since)s AND at <= %(now)s AND kind NOT IN ('scrape_failed', 'scrape_recovered')
             AND (%(replica)s::text IS NULL OR replicas.name = %(replica)s)
             AND (%(model)s::text IS NULL OR replicas.name = %(replica)s OR models.name = %(model)s)
           ORDER BY at DESC LIMIT 1""",
        {"since": now - _EVENTS, "now": now, "model": model, "replica": replica},
    )
    row = await cursor.fetchone()
    return None if row is None else LastEvent(row.at, row.kind, row.replica, {k: str(v) for k, v in row.detail.items()})
