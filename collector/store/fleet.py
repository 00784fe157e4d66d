"""Writes of what the fleet says: how replicas are, what happened to them, what their scrapes showed, and our own heartbeat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb
from sqlalchemy import Table

from collector import schema
from collector.event import Change, Event, change_of
from collector.metrics import HISTOGRAMS
from collector.objective import canonical
from collector.replica import ReplicaState
from collector.sample import Health, Snapshot
from collector.schema import ALL, UNKNOWN
from collector.store.connection import Database
from collector.store.dictionary import Dictionary, Name

Connection = AsyncConnection[Any]

_UNCHECKED = f"excluded.health = {Health.UNKNOWN:d}"
_REMEMBERED = {
    "model_id": f"CASE WHEN excluded.model_id = {UNKNOWN} THEN known.model_id ELSE excluded.model_id END",
    "health": f"CASE WHEN {_UNCHECKED} THEN known.health ELSE excluded.health END",
    "health_status": f"CASE WHEN {_UNCHECKED} THEN known.health_status ELSE excluded.health_status END",
    "health_since": f"CASE WHEN {_UNCHECKED} THEN known.health_since WHEN known.health = excluded.health "
    "THEN least(known.health_since, excluded.health_since) ELSE excluded.health_since END",
    "checked_at": f"CASE WHEN {_UNCHECKED} THEN known.checked_at ELSE excluded.checked_at END",
    "ready_at": "coalesce(excluded.ready_at, known.ready_at)",
    "scraped_at": "coalesce(excluded.scraped_at, known.scraped_at)",
    "process_started_at": "coalesce(excluded.process_started_at, known.process_started_at)",
}
"""What a collector that has just started does not know yet, and an earlier one knew."""

_STATE_COLUMNS = [column.name for column in schema.replica_states.columns]
# how a replica is now
_UPSERT_STATE = f"""
INSERT INTO {schema.replica_states.name} AS known ({", ".join(_STATE_COLUMNS)})
VALUES ({", ".join(f"%({name})s" for name in _STATE_COLUMNS)})
ON CONFLICT (replica_id) DO UPDATE SET
{", ".join(f"{name} = {_REMEMBERED.get(name, f'excluded.{name}')}" for name in _STATE_COLUMNS if name != "replica_id")}
"""


_CHANGE_COLUMNS = "at, kind, source, replica_id, model_id, detail"
_SAME_CHANGE = " AND ".join(f"{name} = %s" for name in _CHANGE_COLUMNS.split(", "))


class Kept(NamedTuple):
    """The row of a change, and whether it was made for it."""

    id: int
    new: bool


class FleetStore:
    """Writes what scrapes and health checks find. May be called by many tasks at once."""

    def __init__(self, database: Database, dictionary: Dictionary) -> None:
        self._database = database
        self._dictionary = dictionary

    async def write(self, state: ReplicaState, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> None:
        """Keep how a replica is, with what happened on the way and what the scrape said, in one transaction.

        A restart is kept as a change too: it explains what happened after it.

        :raises StoreUnavailable: when Postgres did not commit
        """
        await self._dictionary.allocate(_names(state, events, snapshots), rationed=False)
        async with self._database.transaction() as connection:
            await self._write_state(connection, state)
            for event in events:
                await self._write_event(connection, event)
                change = change_of(event)
                if change is not None:
                    await self._write_change(connection, change)
            for snapshot in snapshots:
                await _insert(connection, schema.snapshots, self._snapshot_row(snapshot, state))

    async def write_observed(self, state: ReplicaState, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> None:
        """Keep what an exporter tells of replicas, in one transaction. It is none itself: of ``state`` only its place is kept.

        :raises StoreUnavailable: when Postgres did not commit
        """
        names = _names(state, events, snapshots)
        names[schema.replicas] |= {(event.replica,) for event in events} | {(snapshot.replica,) for snapshot in snapshots}
        await self._dictionary.allocate(names, rationed=False)
        async with self._database.transaction() as connection:
            for event in events:
                await self._write_event(connection, event)
            for snapshot in snapshots:
                await _insert(connection, schema.snapshots, self._snapshot_row(snapshot, state))

    async def write_events(self, events: Sequence[Event]) -> None:
        """Keep what happened to engines and is known without a scrape, in one transaction.

        :raises StoreUnavailable: when Postgres did not commit
        """
        await self._dictionary.allocate(_names_of(events), rationed=False)
        async with self._database.transaction() as connection:
            for event in events:
                await self._write_event(connection, event)

    async def write_new_events(self, events: Sequence[Event]) -> int:
        """As ``write_events``, of events that may be there already; how many were not.

        :raises StoreUnavailable: when Postgres did not commit
        """
        await self._dictionary.allocate(_names_of(events), rationed=False)
        new = 0
        async with self._database.transaction() as connection:
            for event in events:
                if not await self._is_kept(connection, event):
                    await self._write_event(connection, event)
                    new += 1
        return new

    async def write_change(self, change: Change) -> Kept:
        """Keep a deploy, restart, config or version change that somebody tells of; one that is there already is not kept twice.

        :raises StoreUnavailable: when Postgres did not commit
        """
        await self._dictionary.allocate(
            {
                schema.replicas: [(change.replica,)] if change.replica is not None else [],
                schema.models: [(change.model,)] if change.model is not None else [],
            }
        )
        row = self._change_row(change)
        async with self._database.transaction() as connection:
            # of two that tell the same at once, the second waits
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                (canonical([str(part) for part in (*row, change.detail)]),),
            )
            cursor = await connection.execute(
                # the same change, where it is there
                f"SELECT id FROM changes WHERE {_SAME_CHANGE} ORDER BY id LIMIT 1",
                (*row, Jsonb(change.detail)),
            )
            known = await cursor.fetchone()
            if known is not None:
                return Kept(int(str(known[0])), new=False)
            return Kept(await self._write_change(connection, change), new=True)

    async def write_heartbeat(
        self, name: str, version: str, started_at: datetime, seen_at: datetime, span_at: datetime | None
    ) -> None:
        """Say that this collector lives.

        :raises StoreUnavailable: when Postgres did not commit
        """
        async with self._database.transaction() as connection:
            await connection.execute(
                # the collector's last sign of life
                """
                INSERT INTO collectors (name, version, started_at, seen_at, span_at) VALUES (%s, %s, %s, %s, %s)
                ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at, span_at = excluded.span_at
                """,
                (name, version, started_at, seen_at, span_at),
            )

    async def _write_state(self, connection: Connection, state: ReplicaState) -> None:
        id = self._dictionary.id
        row: dict[str, object] = {
            "replica_id": id(schema.replicas, state.replica),
            "model_id": id(schema.models, state.model),
            "environment_id": id(schema.environments, state.environment),
            "cluster_id": id(schema.clusters, state.cluster),
            "url": state.url,
            "health": state.health,
            "health_status": state.health_status,
            "health_since": state.health_since,
            "checked_at": state.checked_at,
            "ready_at": state.ready_at,
            "scraped_at": state.scraped_at,
            "scrape_failed_at": state.scrape_failed_at,
            "process_started_at": state.process_started_at,
            "gauges_frozen_since": state.gauges_frozen_since,
            "requests_running": state.requests_running,
            "requests_waiting": state.requests_waiting,
            "zombie": state.zombie,
        }
        await connection.execute(_UPSERT_STATE, row)

    async def _is_kept(self, connection: Connection, event: Event) -> bool:
        cursor = await connection.execute(
            # the same thing, told before
            "SELECT FROM events WHERE at = %s AND kind = %s AND replica_id = %s",
            (event.at, event.kind.value, self._dictionary.id(schema.replicas, event.replica)),
        )
        return cursor.rowcount > 0

    async def _write_event(self, connection: Connection, event: Event) -> None:
        await connection.execute(
            # something that happened to an engine
            "INSERT INTO events (at, kind, replica_id, model_id, detail) VALUES (%s, %s, %s, %s, %s)",
            (
                event.at,
                event.kind.value,
                self._dictionary.id(schema.replicas, event.replica),
                self._dictionary.id(schema.models, event.model),
                Jsonb(event.detail),
            ),
        )

    async def _write_change(self, connection: Connection, change: Change) -> int:
        cursor = await connection.execute(
            # something that explains what happened after it
            f"INSERT INTO changes ({_CHANGE_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
            (*self._change_row(change), Jsonb(change.detail)),
        )
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    def _change_row(self, change: Change) -> tuple[datetime, str, str, int, int]:
        """The columns of a change, but for its detail."""
        id = self._dictionary.id
        return (
            change.at,
            change.kind.value,
            change.source,
            ALL if change.replica is None else id(schema.replicas, change.replica),
            ALL if change.model is None else id(schema.models, change.model),
        )

    def _snapshot_row(self, snapshot: Snapshot, state: ReplicaState) -> dict[str, object]:
        id = self._dictionary.id
        row: dict[str, object] = {
            "scraped_at": snapshot.scraped_at,
            "process_started_at": snapshot.process_started_at,
            "scrape_seconds": snapshot.scrape_seconds,
            "tenant_id": ALL,
            "cluster_id": id(schema.clusters, state.cluster),
            "environment_id": id(schema.environments, state.environment),
            "model_id": id(schema.models, snapshot.model),
            "replica_id": id(schema.replicas, snapshot.replica),
            "layout_id": id(schema.layouts, _layout(snapshot)) if snapshot.histograms else None,
            "engine": snapshot.engine,
            "role": snapshot.role,
        }
        row |= {family.name: value for family, value in snapshot.values.items()}
        for family, histogram in snapshot.histograms.items():
            row[f"{family.name}_buckets"] = list(histogram.counts)
            row[f"{family.name}_sum"] = histogram.sum
        return row


def _names(state: ReplicaState, events: Sequence[Event], snapshots: Sequence[Snapshot]) -> dict[Table, set[Name]]:
    models = {state.model, *(event.model for event in events), *(snapshot.model for snapshot in snapshots)}
    return {
        schema.replicas: {(state.replica,)},
        schema.models: {(model,) for model in models if model is not None},
        schema.environments: {(state.environment,)},
        schema.clusters: {(state.cluster,)},
        schema.layouts: {(_layout(snapshot),) for snapshot in snapshots if snapshot.histograms},
    }


def _names_of(events: Sequence[Event]) -> dict[Table, set[Name]]:
    return {
        schema.replicas: {(event.replica,) for event in events},
        schema.models: {(event.model,) for event in events if event.model is not None},
    }


def _layout(snapshot: Snapshot) -> str:
    """The edges that a row's arrays go by; the last one, +Inf, is left out, since JSON has no word for it."""
    return canonical(
        {family.name: list(snapshot.histograms[family].edges[:-1]) for family in HISTOGRAMS if family in snapshot.histograms}
    )


async def _insert(connection: Connection, table: Table, row: dict[str, object]) -> None:
    columns = [column.name for column in table.columns if column.name in row]
    await connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(  # one scrape of one engine
            sql.Identifier(table.name),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        ),
        [row[name] for name in columns],
    )
