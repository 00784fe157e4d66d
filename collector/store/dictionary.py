"""Names to ids: rows carry integers, and the ids are allocated in a transaction before the batch that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from psycopg import AsyncConnection, sql
from sqlalchemy import Table

from collector import telemetry
from collector.schema import DICTIONARIES, UNKNOWN, api_keys, models, producers, streams, tenants
from collector.store.connection import Database
from collector.store.ration import Ration

Name = tuple[str, ...]
"""The columns that make an entry unique, in the table's order: one for most dictionaries, three for producers."""

MOST_NEW_TENANTS = 300
"""New tenants of a minute, unless configured."""
MOST_NEW_MODELS = 100
MOST_NEW_NAMES = 1000
"""New names of a minute of every other kind that spans bring."""
FOLDED_MINUTES = 10
"""A tenant stays folded for longer than senders repeat what was not acknowledged: it is part of a row's key, and a span that
came again as another tenant's would count twice."""


class Dictionary:
    """The ids of all dictionaries, cached per process. Entries are never renamed or deleted, so the cache cannot be stale.

    ``most_new_tenants`` is of a minute; ``None`` rations no name of any kind.
    """

    def __init__(
        self, database: Database, clock: Callable[[], float] = monotonic, *, most_new_tenants: int | None = MOST_NEW_TENANTS
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids: dict[str, dict[Name, int]] = {}
        self._rations: dict[str, Ration] = {}
        if most_new_tenants is not None:
            self._rations = {table.name: Ration(MOST_NEW_NAMES) for table in (*DICTIONARIES, producers, api_keys, streams)}
            self._rations[models.name] = Ration(MOST_NEW_MODELS)
            self._rations[tenants.name] = Ration(most_new_tenants, FOLDED_MINUTES)

    async def allocate(self, wanted: Mapping[Table, Iterable[Name]], *, rationed: bool = True) -> None:
        """Make sure that every wanted name has an id, in one transaction of its own where one is missing.

        Of names that senders choose only so many are new in a minute; the others share the id of ``other``. ``rationed`` is
        False for names that operators or engines choose.

        :raises StoreUnavailable: when Postgres did not commit
        """
        minute = int(self._clock() // 60)
        missing = {table: self._missing(table, names, minute, rationed) for table, names in wanted.items()}
        missing = {table: names for table, names in missing.items() if names}
        if not missing:
            return
        found: dict[str, dict[Name, int]] = {}
        async with self._database.transaction() as connection:
            # Always in the same order, so that two collectors with new names cannot deadlock.
            for table in sorted(missing, key=lambda part: part.name):
                admit = self._admit(table, minute) if rationed else None
                found[table.name] = await _allocate(connection, table, missing[table], admit)
        # Only what was committed may be cached.
        for table_name, ids in found.items():
            self._ids.setdefault(table_name, {}).update(ids)

    def id(self, table: Table, *name: str | None) -> int:
        """The id of an allocated name; UNKNOWN for a name that is ``None``."""
        entry = tuple(part for part in name if part is not None)
        if len(entry) < len(name):
            return UNKNOWN
        ids = self._ids[table.name]
        return ids[entry] if entry in ids or table.name not in self._rations else ids[other(table)]

    def _missing(self, table: Table, names: Iterable[Name], minute: int, rationed: bool) -> list[Name]:
        """What has no id yet and may get one, and the entry that stands for what may not."""
        known = self._ids.get(table.name, {})
        missing = {name for name in names if name not in known}
        folded: set[Name] = set()
        if rationed and table.name in self._rations:
            folded = self._rations[table.name].folded(missing, minute)
        missing -= folded
        if folded and other(table) not in known:
            missing.add(other(table))
        return sorted(missing)

    def _admit(self, table: Table, minute: int) -> Callable[[list[Name]], list[Name]] | None:
        ration = self._rations.get(table.name)
        if ration is None:
            return None

        def admit(new: list[Name]) -> list[Name]:
            chosen = [name for name in new if name != other(table)]
            taken = ration.admit(chosen, minute)
            telemetry.NAMES_FOLDED.labels(table.name).inc(len(chosen) - len(taken))
            return new if len(taken) == len(chosen) else [*taken, other(table)]

        return admit


def other(table: Table) -> Name:
    """The entry that stands for names that came when too many new ones did. As a stream it belongs to no objective."""
    if table is streams:
        return ("other", "{}")
    return ("other",) * (len(table.columns) - 1)


async def _allocate(
    connection: AsyncConnection[tuple[object, ...]],
    table: Table,
    names: list[Name],
    admit: Callable[[list[Name]], list[Name]] | None,
) -> dict[Name, int]:
    """Read the ids of names and give the new ones that are admitted the next free integers."""
    columns = [column.name for column in table.columns if column.name != "id"]
    ids = await _read(connection, table, columns, names)
    new = [name for name in names if name not in ids]
    if new and admit is not None:
        new = admit(new)
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
        numbered = dict(zip(new, range(row[0] + 1, row[0] + 1 + len(new)), strict=True))
        await connection.execute(
            sql.SQL("INSERT INTO {} (id, {}) SELECT * FROM unnest(%s::integer[], {})").format(  # new entries
                sql.Identifier(table.name),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(columns)),
            ),
            [list(numbered.values()), *([name[position] for name in new] for position in range(len(columns)))],
        )
        ids |= numbered
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
