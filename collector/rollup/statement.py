"""Parts that the statements of several rollups have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection

from collector.schema import SKETCHES
from collector.schema.level import DIMENSIONS, SUMS

Connection = AsyncConnection[Any]

KEY = ", ".join(DIMENSIONS)
SUM_NAMES = ", ".join(SUMS)
SKETCH_NAMES = ", ".join(f"{name}_buckets, {name}_counts" for name in SKETCHES)
QUANTITIES: Mapping[str, int] = {name: number for number, name in enumerate(SKETCHES)}
"""Numbers of the sketched quantities within a statement: shorter than names where millions of cells are told apart by them."""


def sketched(key: str) -> str:
    """Sketches of ``cells``: a key, a quantity, a bucket, and the rows in it."""
    arrays = ", ".join(
        f"array_agg(bucket ORDER BY bucket) FILTER (WHERE quantity = {number}) AS {name}_buckets, "
        f"array_agg(rows ORDER BY bucket) FILTER (WHERE quantity = {number}) AS {name}_counts"
        for name, number in QUANTITIES.items()
    )
    return f"SELECT {key}, {arrays} FROM cells GROUP BY {key}"
