"""Quantiles of what rollups keep sketches of, from the coarsest level that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from collector import sketch
from collector.reads.level import By, Connection, Plan, Selection, Source, slot_of, sources
from collector.reads.plan import Grain, Period
from collector.schema.level import BUCKET, MEASURES
from collector.sketch import VERSION


class Quantiles(NamedTuple):
    """Nearest-rank quantiles of one slot and one combination of what was asked to be told apart, within 2 %."""

    slot: Period
    key: tuple[int, ...]
    rows: int
    """Requests that state the quantity."""
    values: tuple[float, ...]
    """One per share that was asked for, in the unit of the quantity."""


async def quantiles(
    connection: Connection, plan: Plan, selection: Selection, by: Sequence[By], quantity: str, shares: Sequence[float]
) -> list[Quantiles]:
    """Quantiles of a quantity of ``collector.schema.SKETCHES``, of a plan that was made with ``sketches``.

    Sketches are added here and not in Postgres: as arrays they come three times faster than it groups their cells.
    """
    if not plan.pieces:
        return []
    parts, values = sources(plan, selection)
    keys = "".join(f", {one.value}" for one in by)
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        # the sketches of all levels that the plan reads
        " UNION ALL ".join(_sketches(part, keys, quantity) for part in parts),
        values,
    )
    merged: dict[tuple[int, ...], dict[int, int]] = {}
    for *group, buckets, counts in await cursor.fetchall():
        known = merged.get(tuple(group))
        if known is None:
            merged[tuple(group)] = dict(zip(buckets, counts, strict=True))
            continue
        for bucket, count in zip(buckets, counts, strict=True):
            known[bucket] = known.get(bucket, 0) + count
    return [
        Quantiles(plan.slots[slot], tuple(key), sum(merged[slot, *key].values()), sketch.quantiles(merged[slot, *key], shares))
        for slot, *key in sorted(merged)
    ]


def _sketches(part: Source, keys: str, quantity: str) -> str:
    """Rows of a slot, a key, buckets and the counts in them."""
    group = f"slot{keys}"
    if part.grain is Grain.ROW:
        measured = f"SELECT {slot_of(part.time)} AS slot{keys}, ({MEASURES[quantity]})::float8 AS value FROM {part.table}"
        bucketed = f"SELECT {group}, {BUCKET} AS bucket FROM ({measured}) AS measured WHERE value IS NOT NULL"
        cells = f"SELECT {group}, bucket, count(*)::int4 AS rows FROM ({bucketed}) AS bucketed GROUP BY {group}, bucket"
        return f"SELECT {group}, array_agg(bucket), array_agg(rows) FROM ({cells}) AS cells GROUP BY {group}"
    return (
        f"SELECT {slot_of(part.time)} AS slot{keys}, {quantity}_buckets, {quantity}_counts FROM {part.table} "
        f"WHERE {part.where} AND sketch_version = {VERSION} AND {quantity}_buckets IS NOT NULL"
    )
