"""Names and ids of the dictionaries, for those who ask by name and answer with names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from sqlalchemy import Table

from collector.reads.level import Connection
from collector.schema import ALL


class UnknownName(Exception):
    """There is no such tenant, model …; the message names the nearest there is."""


async def names_of(connection: Connection, dictionary: Table) -> Mapping[int, str]:
    """Every name of a dictionary, by id."""
    cursor = await connection.execute(
        # names, without the reserved one of all of them
        f"SELECT id, name FROM {dictionary.name} WHERE id <> %s",
        (ALL,),
    )
    return dict(await cursor.fetchall())


async def ids_of(connection: Connection, dictionary: Table, names: Iterable[str]) -> list[int]:
    """The ids of some names.

    :raises UnknownName: naming what is not there, and what comes nearest to it
    """
    known = {name: id for id, name in (await names_of(connection, dictionary)).items()}
    found = []
    for name in names:
        if name not in known:
            kind = dictionary.name.removesuffix("s")
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise UnknownName(f"there is no {kind} {name!r}" + (f"; the nearest is {nearest[0]!r}" if nearest else ""))
        found.append(known[name])
    return found
