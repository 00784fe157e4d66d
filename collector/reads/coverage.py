"""Coverage: how much of what the engines finished the gateways told of, and how many of their rows carry which value.

Rows are read raw, by their key: for windows of minutes. Counters are scraped once a minute and never on the minute, so what one
counted between two scrapes is spread evenly over the time between them; over ten minutes that is off by little, in a single
minute of uneven traffic by more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from psycopg import AsyncConnection, sql

from collector.metrics import REQUESTS_LENGTH, REQUESTS_REPETITION, REQUESTS_STOP, REQUESTS_UNSPECIFIED
from collector.request import BillingFlag, ObservedBy, Outcome

FINISHED = (REQUESTS_STOP, REQUESTS_LENGTH, REQUESTS_REPETITION, REQUESTS_UNSPECIFIED)
"""What a gateway has an answer of. An engine counts aborts and errors in its own way, and some of them not at all."""
LONGEST_GAP = timedelta(minutes=5)
"""Two scrapes further apart than this do not say when what was counted between them happened."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """One served model in one minute: gateways' rows of answers that came from it, and what its engines say."""

    model: str
    minute: datetime
    finished: float | None
    """Requests that its engines finished with an answer; ``None`` where no scrapes say it."""
    told: float
    """The same as gateways' rows have it: by sampling weight, each choice of an answer for itself."""
    rows: int
    rows_with_tokens: int
    rows_with_cached: int
    rows_streamed: int
    """Rows of streams, and of calls of which nobody says whether they were: only these can have a TTFT."""
    rows_with_ttft: int

    @property
    def ratio(self) -> float | None:
        """Share of what the engines finished that has a row; above 1 where others than these engines serve the model."""
        return self.told / self.finished if self.finished else None

    @property
    def token_ratio(self) -> float | None:
        """Share of the rows that state input and output tokens."""
        return self.rows_with_tokens / self.rows if self.rows else None

    @property
    def cached_ratio(self) -> float | None:
        """Share of the rows that state cached tokens."""
        return self.rows_with_cached / self.rows if self.rows else None

    @property
    def ttft_ratio(self) -> float | None:
        """Share of the rows of streams that state their TTFT."""
        return self.rows_with_ttft / self.rows_streamed if self.rows_streamed else None


class Scraped(NamedTuple):
    """One counter at one scrape. ``series`` tells it from those of other engines."""

    series: tuple[int, ...]
    model: str
    at: datetime
    process_started_at: datetime | None
    value: float


def spread(scrapes: Iterable[Scraped]) -> Mapping[tuple[str, datetime], float]:
    """What was counted in each minute, by model. ``scrapes`` are ordered by series, then by time."""
    minutes: dict[tuple[str, datetime], float] = defaultdict(float)
    for before, after in pairwise(scrapes):
        if before.series != after.series or not timedelta(0) < after.at - before.at <= LONGEST_GAP:
            continue
        restarted = after.value < before.value or after.process_started_at != before.process_started_at
        counted = after.value - (0.0 if restarted else before.value)
        start = before.at
        while start < after.at:
            minute = start.replace(second=0, microsecond=0)
            end = min(minute + MINUTE, after.at)
            minutes[after.model, minute] += counted * ((end - start) / (after.at - before.at))
            start = end
    return minutes


async def coverage(connection: AsyncConnection[Any], start: datetime, end: datetime) -> list[Coverage]:
    """Every served model of every whole minute from ``start`` until ``end``, by minute and name.

    What has rows and no engine of ours, a hosted model say, is not in it.
    """
    finished = spread(await _scraped(connection, start - LONGEST_GAP, end + LONGEST_GAP))
    served = sorted({model for model, _ in finished})
    told = {(row[0], row[1]): row[2:] for row in await _told(connection, start, end, served)}
    nothing = (0.0, 0, 0, 0, 0, 0)
    keys = {key for key in finished if start <= key[1] < end} | told.keys()
    found = []
    for model, minute in sorted(keys, key=lambda key: (key[1], key[0])):
        weight, rows, with_tokens, with_cached, streamed, with_ttft = told.get((model, minute), nothing)
        one = Coverage(
            model=model,
            minute=minute,
            finished=finished.get((model, minute)),
            told=weight,
            rows=rows,
            rows_with_tokens=with_tokens,
            rows_with_cached=with_cached,
            rows_streamed=streamed,
            rows_with_ttft=with_ttft,
        )
        found.append(one)
    return found


async def _scraped(connection: AsyncConnection[Any], start: datetime, end: datetime) -> list[Scraped]:
    columns = [sql.Identifier(family.name) for family in FINISHED]
    cursor = await connection.execute(
        # what engines had finished at each scrape that read their counters
        sql.SQL(
            "SELECT replica_id, hashtext(engine), model_id, tenant_id, models.name, scraped_at, process_started_at, {} "
            "FROM snapshots JOIN models ON models.id = model_id "
            # Of two engines that share a request the one that decodes it finishes it.
            "WHERE scraped_at >= %s AND scraped_at < %s AND coalesce({}) IS NOT NULL AND role IS DISTINCT FROM 'prefill' "
            "ORDER BY 1, 2, 3, 4, scraped_at"
        ).format(
            sql.SQL(" + ").join(sql.SQL("coalesce({}, 0)").format(column) for column in columns), sql.SQL(", ").join(columns)
        ),
        (start, end),
    )
    return [Scraped(tuple(row[:4]), *row[4:]) for row in await cursor.fetchall()]


async def _told(connection: AsyncConnection[Any], start: datetime, end: datetime, served: list[str]) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(
        # gateways' answers by the served model that gave them: the one that answered, or else the one that was asked for
        """
        WITH served AS (SELECT id, name FROM models WHERE name = ANY(%(served)s))
        SELECT coalesce(answered.name, asked.name), date_trunc('minute', ended_at),
            sum(sampling_weight * greatest(coalesce(choice_count, 1), 1)), count(*),
            count(*) FILTER (WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL), count(cached_tokens),
            count(*) FILTER (WHERE stream IS NOT false), count(ttft_seconds) FILTER (WHERE stream IS NOT false)
        FROM requests
        LEFT JOIN served AS answered ON answered.id = response_model_id
        LEFT JOIN served AS asked ON asked.id = model_id
        WHERE ended_at >= %(start)s AND ended_at < %(end)s AND observed_by = %(gateway)s AND outcome = ANY(%(well)s)
            AND billing_flags & %(cache)s = 0
            AND (answered.id IS NOT NULL OR (asked.id IS NOT NULL AND billing_flags & %(fallback)s = 0))
        GROUP BY 1, 2
        """,
        {
            "served": served,
            "start": start,
            "end": end,
            "gateway": ObservedBy.GATEWAY,
            "well": [int(Outcome.OK), int(Outcome.UNKNOWN)],
            "cache": int(BillingFlag.GATEWAY_CACHE),
            "fallback": int(BillingFlag.FALLBACK),
        },
    )
    return await cursor.fetchall()
