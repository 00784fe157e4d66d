"""Counts and sums of requests, from the coarsest level that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collector.reads.level import By, Connection, Plan, Selection, slot_of, sources
from collector.reads.plan import Grain, Period
from collector.schema.level import SUMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Requests of one slot and one combination of what was asked to be told apart. Rates follow by dividing by its seconds."""

    slot: Period
    key: tuple[int, ...]
    """Ids and stored integers, in the order that was asked for."""
    requests: int
    weighted_requests: float
    input_tokens: int
    cached_tokens: int
    cacheable_tokens: int
    """Prompt tokens of the rows that state cached tokens: the hit rate's denominator."""
    output_tokens: int
    reasoning_tokens: int
    rows_with_tokens: int
    rows_with_ttft: int


async def totals(connection: Connection, plan: Plan, selection: Selection, by: Sequence[By]) -> list[Total]:
    """What was asked for, by slot and key; combinations without a request are left out."""
    if not plan.pieces:
        return []
    parts, values = sources(plan, selection)
    keys = "".join(f", {one.value}" for one in by)
    grouped = ", ".join(map(str, range(1, 2 + len(by))))
    finer = " UNION ALL ".join(
        f"SELECT {slot_of(part.time)} AS slot{keys}, {_sums(part.grain)} FROM {part.table} WHERE {part.where}"
        + (f" GROUP BY {grouped}" if part.grain is Grain.ROW else "")
        for part in parts
    )
    sums = ", ".join(f"sum({name}){'' if name == 'weighted_requests' else '::int8'}" for name in SUMS)
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        # sums over all levels that the plan reads
        f"SELECT slot{keys}, {sums} FROM ({finer}) AS parts GROUP BY {grouped} ORDER BY {grouped}",
        values,
    )
    return [
        Total(slot=plan.slots[slot], key=tuple(rest[: len(by)]), **dict(zip(SUMS, rest[len(by) :], strict=True)))
        for slot, *rest in await cursor.fetchall()
    ]


def _sums(grain: Grain) -> str:
    """What is added up: of rows, their sums, since they are many; of rollups, what they hold."""
    if grain is Grain.ROW:
        return ", ".join(f"({sum}){'' if name == 'weighted_requests' else '::int8'} AS {name}" for name, sum in SUMS.items())
    return ", ".join(SUMS)
