"""Names to ids: rows carry integers, and the ids are allocated in a transaction before the batch that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from psycopg import AsyncConnection, sql
from sqlalchemy import Table

from collector import telemetry
from collector.schema import UNKNOWN, models
from collector.store.connection import Database

Name = tuple[str, ...]
"""The columns that make an entry unique, in the table's order: one for most dictionaries, three for producers."""


OTHER: Name = ("other",)
"""The model of a request whose model name came when too many new ones did."""
MOST_NEW_MODELS = 100
"""New model names of a minute. Callers choose these names, and each would live for ever in a table, a variable and a legend."""


class Dictionary:
    """The ids of all dictionaries, cached per process. Entries are never renamed or deleted, so the cache cannot be stale."""

    def __init__(self, database: Database, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._clock = clock
        self._ids: dict[str, dict[Name, int]] = {}
        self._minute = -1
        self._new_models = 0

    async def allocate(self, wanted: Mapping[Table, Iterable[Name]]) -> None:
        """Make sure that every wanted name has an id, in one transaction of its own where one is missing.

        :raises StoreUnavailable: when Postgres did not commit
        """
        missing = {
            table: sorted({name for name in names if name not in self._ids.get(table.name, {})})
            for table, names in wanted.items()
        }
        if missing.get(models):
            missing[models] = self._within_cap(missing[models])
        missing = {table: names for table, names in missing.items() if names}
        if not missing:
            return
        found: dict[str, dict[Name, int]] = {}
        async with self._database.transaction() as connection:
            # Always in the same order, so that two collectors with new names cannot deadlock.
            for table in sorted(missing, key=lambda part: part.name):
                found[table.name] = await _allocate(connection, table, missing[table])
        # Only what was committed may be cached.
        for table_name, ids in found.items():
            self._ids.setdefault(table_name, {}).update(ids)

    def id(self, table: Table, *name: str | None) -> int:
        """The id of an allocated name; UNKNOWN for a name that is ``None``."""
        entry = tuple(part for part in name if part is not None)
        if len(entry) < len(name):
            return UNKNOWN
        ids = self._ids[table.name]
        return ids[OTHER] if table is models and entry not in ids else ids[entry]

    def _within_cap(self, names: list[Name]) -> list[Name]:
        """As many new names as this minute still has room for, and the one that stands for the rest."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._new_models = minute, 0
        taken = names[: max(0, MOST_NEW_MODELS - self._new_models)]
        self._new_models += len(taken)
        if len(taken) == len(names):
            return taken
        telemetry.MODELS_FOLDED.inc(len(names) - len(taken))
        return [*taken, OTHER]


async def _allocate(connection: AsyncConnection[tuple[object, ...]], table: Table, names: list[Name]) -> dict[Name, int]:
    """Read the ids of names and give the new ones the next free integers."""
    columns = [column.name for column in table.columns if column.name != "id"]
    ids = await _read(connection, table, columns, names)
    new = [name for name in names if name not in ids]
    if new:
        # One allocator at a time: ids stay dense, and two collectors cannot give one name two ids.
        await connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(sql.Identifier(table.name)))
        ids |= await _read(connection, table, columns, new)
        new = [name for name in new if name not in ids]
    if new:
        cursor = await connection.execute(
            sql.SQL("SELECT coalesce(max(id), 1) FROM {}").format(sql.Identifier(table.name))  # the last id in use
        )
        row = await cursor.fetchone()
        assert row is not None
        assert isinstance(row[0], int)
        for id, name in enumerate(new, row[0] + 1):
            await connection.execute(
                sql.SQL("INSERT INTO {} (id, {}) VALUES (%s, {})").format(  # one new entry
                    sql.Identifier(table.name),
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
                ),
                (id, *name),
            )
            ids[name] = id
    return ids


async def _read(
    connection: AsyncConnection[tuple[object, ...]], table: Table, columns: list[str], names: list[Name]
) -> dict[Name, int]:
    """The ids that names already have."""
    cursor = await connection.execute(
        sql.SQL("SELECT id, {} FROM {} JOIN unnest({}) AS wanted({}) USING ({})").format(  # entries by name
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(table.name),
            sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(columns)),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
        ),
        [[name[position] for name in names] for position in range(len(columns))],
    )
    rows = await cursor.fetchall()
    return {tuple(str(part) for part in row[1:]): row[0] for row in rows if isinstance(row[0], int)}
