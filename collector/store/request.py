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
from collector.fragment import Fragment, Trace
from collector.link import LASTS, Link, Row, is_twin, keys_of
from collector.objective import Objective, Verdict
from collector.request import ObservedBy, Request
from collector.store import link, twin
from collector.store.connection import Database
from collector.store.dictionary import Dictionary, Name
from collector.store.fragment import Taking, insert, take
from collector.store.row import Ids, names_of, row_of

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
    """What a batch came to: rows by observer, and how many of its requests, and of its fragments, were there already."""

    rows: Counter[ObservedBy]
    duplicates: int
    fragment_duplicates: int = 0


class Closing(NamedTuple):
    """Fragments of a trace, and the requests that they come to."""

    taking: Taking
    requests: tuple[Judged, ...]


class Closed(NamedTuple):
    """The traces that were closed, and what was written of them."""

    traces: set[Trace]
    written: Written


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

    async def write(self, batch: Sequence[Judged], received_at: datetime, fragments: Sequence[Fragment] = ()) -> Written:
        """Commit a batch, and what waits of its bodies.

        :raises StoreUnavailable: when Postgres did not commit; nothing of the batch is there then, or all of it
        """
        known = 0
        await self._prepare(batch)
        async with self._database.transaction() as connection:
            # Before the rows, as where fragments are closed: in another order the two could wait for each other.
            if fragments:
                known = len(fragments) - await insert(connection, fragments)
            written = await self._write(connection, batch, received_at)
        return written._replace(fragment_duplicates=known)

    async def close(self, closings: Sequence[Closing], received_at: datetime) -> Closed:
        """Commit the rows of what waited, together with the end of its waiting. What another collector closes is left to it.

        :raises StoreUnavailable: when Postgres did not commit
        """
        await self._prepare([judged for closing in closings for judged in closing.requests])
        async with self._database.transaction() as connection:
            taken = await take(connection, sorted(closing.taking for closing in closings))
            ours = [judged for closing in closings if closing.taking.trace in taken for judged in closing.requests]
            return Closed(taken, await self._write(connection, ours, received_at))

    async def _prepare(self, batch: Sequence[Judged]) -> None:
        """What a batch needs, in transactions of their own."""
        if batch:
            await self._dictionary.allocate(_names(batch))
            await self._ensure_days(judged.request for judged in batch)

    async def _write(self, connection: Connection, batch: Sequence[Judged], received_at: datetime) -> Written:
        """Rows, in the order of their key, and their pulses."""
        unique = {_key(judged.request): judged for judged in batch}
        ordered = [unique[key] for key in sorted(unique)]
        written: list[Judged] = []
        for table, engine in ((schema.requests, False), (schema.engine_requests, True)):
            part = [judged for judged in ordered if (judged.request.observed_by is ObservedBy.ENGINE) is engine]
            if engine:
                part = await _unmerged(connection, part)
            if part:
                written += await self._insert(connection, table, part, received_at)
        if written:
            await self._pulse(connection, written)
            await link.write(connection, self._links(written, received_at), received_at)
        return Written(Counter(judged.request.observed_by for judged in written), len(batch) - len(written))

    def _links(self, written: Iterable[Judged], received_at: datetime) -> list[Link]:
        """What new rows have in common with others. Nobody looks for one that comes late, but its twin, which comes as late."""
        oldest = received_at - LASTS
        requests = [one for one, _ in written if one.ended_at > oldest or one.observed_by is ObservedBy.ENGINE]
        tenants = {name: self._dictionary.id(schema.tenants, name) for name in {request.tenant for request in requests}}
        return [
            Link(key, tells, row)
            for request in requests
            for row in [Row(request.ended_at, request.span_id, request.trace_id, tenants[request.tenant], request.started_at)]
            for key, tells in keys_of(request)
            if request.ended_at > oldest or is_twin(key)
        ]

    async def _ensure_days(self, requests: Iterable[Request]) -> None:
        """Partitions for days that are not made ahead, in a transaction of their own: they take a lock."""
        wanted: dict[str, set[date]] = {}
        for day, engine in {(request.ended_at.date(), request.observed_by is ObservedBy.ENGINE) for request in requests}:
            name = schema.engine_requests.name if engine else schema.requests.name
            if (name, day) not in self._days:
                wanted.setdefault(name, set()).add(day)
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
        ids = Ids(self._dictionary)
        rows = [row_of(judged.request, table, ids, received_at) for judged in part]
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
        seconds = [judged.request.ended_at.replace(microsecond=0) for judged in written]
        counts: Counter[tuple[datetime, int, bool]] = Counter()
        said = Counter((second, one) for second, judged in zip(seconds, written, strict=True) for one in judged.verdicts)
        for (second, verdict), count in said.items():
            counts[second, self._dictionary.id(schema.streams, verdict.objective_id, verdict.labels), verdict.good] += count
        pulses = sorted({(second, stream) for second, stream, _ in counts})
        async with connection.cursor().copy(
            # verdicts of this transaction
            "COPY pulses (second, stream_id, good, bad) FROM STDIN"
        ) as copy:
            for second, stream in pulses:
                await copy.write_row((second, stream, counts[second, stream, True], counts[second, stream, False]))
        minutes = sorted({second.replace(second=0) for second in set(seconds)})
        await connection.execute(
            # minutes to recompute
            "INSERT INTO rollup_marks (minute) SELECT unnest(%s::timestamptz[])",
            (minutes,),
        )


async def _unmerged(connection: Connection, part: list[Judged]) -> list[Judged]:
    """Without records that are part of another row already: they were sent again."""
    beside = [judged.request.span_id for judged in part if judged.request.is_beside]
    if not beside:
        return part
    known = await twin.remembered(connection, beside)
    return [judged for judged in part if not (judged.request.is_beside and judged.request.span_id in known)]


def _key(request: Request) -> Key:
    return (request.ended_at, request.span_id, request.trace_id, request.tenant)


def _names(batch: Sequence[Judged]) -> dict[Table, set[Name]]:
    """Every name that a batch needs an id for."""
    names = names_of(judged.request for judged in batch)
    names[schema.streams] = {(verdict.objective_id, verdict.labels) for judged in batch for verdict in judged.verdicts}
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
