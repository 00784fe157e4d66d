"""Where the data is, when there is none where it was looked for."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from collector.reads.level import TABLES, Connection, Plan, Selection, at, chosen, chosen_values
from collector.reads.plan import LENGTH, Grain, Period


class Nearest(NamedTuple):
    """The end of the last data before a period, and the start of the first after it, to the hour, or the minute of late."""

    before: datetime | None
    after: datetime | None


async def nearest(connection: Connection, plan: Plan, selection: Selection) -> Nearest:
    """The data around a plan's period, of the same selection."""
    period = Period(plan.slots[0].start, plan.slots[-1].end)
    values = chosen_values(selection) | {"start": period.start, "end": period.end}
    where = f"{chosen(selection)} AND {at(plan.level)}"
    found: list[tuple[datetime | None, datetime | None]] = []
    for grain in (Grain.HOUR, Grain.MINUTE):
        table, time = TABLES[grain]
        cursor = await connection.execute(
            # the last before and the first after
            f"""
            SELECT max({time}) FILTER (WHERE {time} < %(start)s), min({time}) FILTER (WHERE {time} >= %(end)s)
            FROM {table} WHERE {where}
            """,
            values,
        )
        row = await cursor.fetchone()
        assert row is not None, "an aggregate without GROUP BY returns one row"
        found.append((row[0] and row[0] + LENGTH[grain], row[1]))
    ends = [end for end, _ in found if end is not None]
    starts = [start for _, start in found if start is not None]
    return Nearest(max(ends, default=None), min(starts, default=None))
