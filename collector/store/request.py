"""Batches of requests: rows, pulses and dirty minutes in one transaction, or nothing.

Rows are copied optimistically, in binary and in the order of their key. Only when a row is there already is the batch staged
and inserted with ON CONFLICT DO NOTHING, and only what that statement returns makes pulses, so that a resend changes nothing
anywhere. Overlapping batches of two collectors meet in the same order and wait for each other instead of deadlocking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection, sql
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb
from sqlalchemy import BigInteger, Boolean, DateTime, Double, Integer, LargeBinary, SmallInteger, Table, Text

from collector import partition, schema
from collector.objective import Objective, Verdict
from collector.request import ObservedBy, Request
from collector.store.connection import Database
from collector.store.dictionary import Dictionary, Name
from collector.store.row import row_of

Connection = AsyncConnection[Any]
Key = tuple[datetime, bytes, bytes, str]

TYPES = {
    BigInteger: "int8",
    Boolean: "bool",
    DateTime: "timestamptz",
    Double: "float8",
    Integer: "int4",
    LargeBinary: "bytea",
    SmallInteger: "int2",
    Text: "text",
}
_KEY = ("ended_at", "span_id", "trace_id", "tenant_id")


class Judged(NamedTuple):
    """A request, and the verdicts on it."""

    request: Request
    verdicts: tuple[Verdict, ...]


class Written(NamedTuple):
    """What a batch came to: rows by observer, and how many of its requests were there already."""

    rows: Counter[ObservedBy]
    duplicates: int


class RequestStore:
    """Writes requests. One per process; ``write`` is called by one task at a time."""

    def __init__(self, database: Database, dictionary: Dictionary) -> None:
        self._database = database
        self._dictionary = dictionary
        self._days: set[tuple[str, date]] = set()

    async def register(self, objectives: Iterable[Objective], now: datetime) -> None:
        """Make the objectives known before anything is judged by them."""
        async with self._database.transaction() as connection:
            for objective in objectives:
                await connection.execute(
                    # one objective, unless it is known
                    "INSERT INTO objectives (id, definition, first_seen_at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (objective.id, Jsonb(objective.definition), now),
                )

    async def write(self, batch: Sequence[Judged], received_at: datetime) -> Written:
        """Commit a batch.

        :raises StoreUnavailable: when Postgres did not commit; nothing of the batch is there then, or all of it
        """
        unique = {_key(judged.request): judged for judged in batch}
        await self._dictionary.allocate(_names(unique.values()))
        await self._ensure_days(judged.request for judged in unique.values())
        ordered = [unique[key] for key in sorted(unique)]
        written: list[Judged] = []
        async with self._database.transaction() as connection:
            for table, engine in ((schema.requests, False), (schema.engine_requests, True)):
                part = [judged for judged in ordered if (judged.request.observed_by is ObservedBy.ENGINE) is engine]
                if part:
                    written += await self._insert(connection, table, part, received_at)
            if written:
                await self._pulse(connection, written)
        rows = Counter(judged.request.observed_by for judged in written)
        return Written(rows, len(batch) - len(written))

    async def _ensure_days(self, requests: Iterable[Request]) -> None:
        """Partitions for days that are not made ahead, in a transaction of their own: they take a lock."""
        wanted: dict[str, set[date]] = {}
        for request in requests:
            table = schema.engine_requests if request.observed_by is ObservedBy.ENGINE else schema.requests
            day = request.ended_at.date()
            if (table.name, day) not in self._days:
                wanted.setdefault(table.name, set()).add(day)
        if not wanted:
            return
        async with self._database.connection() as connection:
            for name, days in sorted(wanted.items()):
                await partition.ensure_days(connection, schema.metadata.tables[name], sorted(days))
        self._days |= {(name, day) for name, days in wanted.items() for day in days}

    async def _insert(
        self, connection: Connection, table: Table, part: Sequence[Judged], received_at: datetime
    ) -> Sequence[Judged]:
        """Copy rows in; what was there already is left as it is. Returns what is new."""
        rows = [row_of(judged.request, table, self._dictionary, received_at) for judged in part]
        try:
            async with connection.transaction():
                await _copy(connection, table, sql.Identifier(table.name), rows)
        except UniqueViolation:
            new = await _stage(connection, table, rows)
            keys = [tuple(row[table.columns.keys().index(name)] for name in _KEY) for row in rows]
            return [judged for judged, key in zip(part, keys, strict=True) if key in new]
        return part

    async def _pulse(self, connection: Connection, written: Sequence[Judged]) -> None:
        """Append the verdicts of new rows, by second, and mark their minutes."""
        counts: Counter[tuple[datetime, int, bool]] = Counter()
        for judged in written:
            second = judged.request.ended_at.replace(microsecond=0)
            for verdict in judged.verdicts:
                stream = self._dictionary.id(schema.streams, verdict.objective_id, verdict.labels)
                counts[second, stream, verdict.good] += 1
        pulses = sorted({(second, stream) for second, stream, _ in counts})
        async with connection.cursor().copy(
            # verdicts of this transaction
            "COPY pulses (second, stream_id, good, bad) FROM STDIN"
        ) as copy:
            for second, stream in pulses:
                await copy.write_row((second, stream, counts[second, stream, True], counts[second, stream, False]))
        minutes = sorted({judged.request.ended_at.replace(second=0, microsecond=0) for judged in written})
        await connection.execute(
            # minutes to recompute
            "INSERT INTO rollup_marks (minute) SELECT unnest(%s::timestamptz[])",
            (minutes,),
        )


def _key(request: Request) -> Key:
    return (request.ended_at, request.span_id, request.trace_id, request.tenant)


def _names(batch: Iterable[Judged]) -> dict[Table, set[Name]]:
    """Every name that a batch needs an id for."""
    names: dict[Table, set[Name]] = {
        table: set() for table in (*schema.DICTIONARIES, schema.producers, schema.api_keys, schema.streams)
    }
    for request, verdicts in batch:
        names[schema.tenants].add((request.tenant,))
        names[schema.producers].add((request.dialect, request.producer, request.producer_version))
        for table, name in (
            (schema.clusters, request.cluster),
            (schema.environments, request.environment),
            (schema.models, request.model),
            (schema.models, request.requested_model),
            (schema.models, request.response_model),
            (schema.replicas, request.replica),
            (schema.revisions, request.revision),
            (schema.providers, request.provider),
        ):
            if name is not None:
                names[table].add((name,))
        if request.api_key_hash is not None:
            names[schema.api_keys].add((request.api_key_hash, request.api_key_alias or ""))
        names[schema.streams].update((verdict.objective_id, verdict.labels) for verdict in verdicts)
    return names


async def _copy(connection: Connection, table: Table, into: sql.Composable, rows: Sequence[tuple[object, ...]]) -> None:
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    async with connection.cursor().copy(
        sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(into, columns)  # a batch of rows
    ) as copy:
        copy.set_types([TYPES[type(column.type)] for column in table.columns])
        for row in rows:
            await copy.write_row(row)


async def _stage(connection: Connection, table: Table, rows: Sequence[tuple[object, ...]]) -> set[tuple[object, ...]]:
    """Insert what is not there, by way of a staging table. Returns the keys of the new rows."""
    staging, target = sql.Identifier(f"staging_{table.name}"), sql.Identifier(table.name)
    await connection.execute(
        # a staging table that lives as long as this transaction
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT * FROM {} WITH NO DATA").format(staging, target)
    )
    await _copy(connection, table, staging, rows)
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    key = sql.SQL(", ").join(map(sql.Identifier, _KEY))
    cursor = await connection.execute(
        # the rows that are new, in the order of the key
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY {} ON CONFLICT DO NOTHING RETURNING {}").format(
            target, columns, columns, staging, key, key
        )
    )
    return {tuple(row) for row in await cursor.fetchall()}
