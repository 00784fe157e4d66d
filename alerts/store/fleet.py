"""Reading the fleet, and what a page says beside the verdict: who is hurt, and what happened last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg import sql
from psycopg.rows import class_row

from alerts.fleet import Fleet, OomRequests, ReplicaState
from alerts.page import LastEvent
from alerts.store.leader import Connection
from collector.event import CANARY, RESTARTS, Change, ChangeKind, Event, EventKind
from collector.metrics import COUNTERS
from collector.request import ObservedBy, Outcome
from collector.sample import Health
from collector.schema import ALL, UNKNOWN

RECENT = timedelta(minutes=5)
_BEFORE = timedelta(days=1)
_EVENTS = timedelta(minutes=15)
_DEATHS = timedelta(hours=1)
"""How far back deaths, memory faults and restarts are read."""
_CHANGES = timedelta(hours=3)
"""How far back changes are read: an engine may take an hour to load before its restart is seen."""
_TELLING = sorted(kind.value for kind in RESTARTS | CANARY | {EventKind.DEATH, EventKind.OOM})

_FINISHED = [family.name for family in COUNTERS if family.name.startswith("requests_finished_")]


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


async def read_fleet(connection: Connection, traffic: Traffic, now: datetime) -> Fleet:
    """The fleet as it is now. ``traffic`` is read apart and less often."""
    replicas = await read_replicas(connection)
    # signs of life of the collectors
    cursor = await connection.execute("SELECT max(seen_at), max(started_at) FROM collectors")
    row = await cursor.fetchone()
    seen_at, started_at = row if row is not None else (None, None)
    return Fleet(
        replicas,
        _time(seen_at),
        _time(started_at),
        *traffic,
        events=await read_deaths(connection, now),
        changes=await read_changes(connection, now),
        oom_requests=await read_oom_requests(connection, now),
    )


async def read_deaths(connection: Connection, now: datetime) -> list[Event]:
    """Deaths, memory faults, restarts, and what canaries found, of the last hour, the oldest first."""
    cursor = connection.cursor(row_factory=class_row(_DeathRow))
    await cursor.execute(
        # what happened to engines lately
        """SELECT at, kind, replicas.name AS replica, CASE WHEN model_id <> %s THEN models.name END AS model, detail
           FROM events JOIN replicas ON replicas.id = replica_id JOIN models ON models.id = model_id
           WHERE at > %s AND at <= %s AND kind = ANY(%s) ORDER BY at, events.id""",
        (UNKNOWN, now - _DEATHS, now, _TELLING),
    )
    return [
        Event(at=row.at, kind=EventKind(row.kind), replica=row.replica, model=row.model, detail=_texts(row.detail))
        for row in await cursor.fetchall()
    ]


async def read_changes(connection: Connection, now: datetime) -> list[Change]:
    """What was done in the last hours, or is about to be, as pipelines tell and scrapes find; the oldest first."""
    cursor = connection.cursor(row_factory=class_row(_ChangeRow))
    await cursor.execute(
        # what may explain a restart
        """SELECT at, kind, source, CASE WHEN replica_id <> %(all)s THEN replicas.name END AS replica,
                  CASE WHEN model_id <> %(all)s THEN models.name END AS model, detail
           FROM changes JOIN replicas ON replicas.id = replica_id JOIN models ON models.id = model_id
           WHERE at > %(since)s ORDER BY at, changes.id""",
        {"all": ALL, "since": now - _CHANGES},
    )
    return [
        Change(
            at=row.at,
            kind=ChangeKind(row.kind),
            source=row.source,
            replica=row.replica,
            model=row.model,
            detail=_texts(row.detail),
        )
        for row in await cursor.fetchall()
    ]


async def read_oom_requests(connection: Connection, now: datetime) -> list[OomRequests]:
    """Requests of the last minutes that failed with an out-of-memory text, as the observer saw them that saw most."""
    cursor = await connection.execute(
        # the first minute that has any, by the rollup; a few seconds old at most
        """SELECT min(minute) FROM rollup_minute
           WHERE minute > %s AND minute <= %s AND tenant_id = %s AND model_id = %s AND replica_id = %s AND outcome = %s""",
        (now - RECENT - timedelta(minutes=1), now, ALL, ALL, ALL, int(Outcome.OOM)),
    )
    row = await cursor.fetchone()
    if row is None or not isinstance(row[0], datetime):
        return []
    rows = connection.cursor(row_factory=class_row(OomRequests))
    await rows.execute(
        # the rows of these minutes: times to the microsecond
        """SELECT DISTINCT ON (model, replica) model, replica, requests, first_at, last_at FROM (
               SELECT models.name AS model, CASE WHEN replica_id <> %s THEN replicas.name END AS replica, observed_by,
                      count(*)::int AS requests, min(ended_at) AS first_at, max(ended_at) AS last_at
               FROM requests JOIN models ON models.id = model_id JOIN replicas ON replicas.id = replica_id
               WHERE ended_at >= %s AND ended_at <= %s AND outcome = %s GROUP BY 1, 2, 3
           ) AS seen ORDER BY model, replica, requests DESC""",
        (UNKNOWN, row[0], now, int(Outcome.OOM)),
    )
    return await rows.fetchall()


class _DeathRow(NamedTuple):
    at: datetime
    kind: str
    replica: str
    model: str | None
    detail: dict[str, object]


class _ChangeRow(NamedTuple):
    at: datetime
    kind: str
    source: str
    replica: str | None
    model: str | None
    detail: dict[str, object]


def _texts(detail: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in detail.items()}


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
    return None if row is None else LastEvent(row.at, row.kind, row.replica, _texts(row.detail))
