"""Reading verdicts: what came lately, what came before this process began, and what the period has spent.

Ids of transactions that commit late lie below ids that were read already, so no cursor on them is safe. Pulses are read by
``received_at``, again and again over an overlap, and those whose id was seen are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.rows import class_row

from alerts.burn import SPAN_SECONDS, TICKETS, Tally
from alerts.detect import BIN_SECONDS, LATE_SECONDS, MONTH_SECONDS, OUTAGE_REQUESTS, Past, clustering
from alerts.store.leader import Connection
from alerts.watch import Pulse, Stream, parse_labels

OVERLAP = timedelta(seconds=60)
"""How far behind the newest pulse one may become visible: a transaction of ours lives 5 s at most."""
_SHORT_OVERLAP = timedelta(seconds=10)
_FULL_EVERY = 10
"""Every so many reads go over the whole overlap; those between over the short one, which holds nearly every late pulse."""
_BY_SECOND = timedelta(minutes=65)
"""Younger seconds are read from pulses, older ones from whole minutes: every window but that of 6 h is exact, at half the
time that reading all pulses would take whoever takes over."""
_MINUTE_END = 59
_LATE = timedelta(seconds=LATE_SECONDS)


class _NewPulse(NamedTuple):
    id: int
    received_at: datetime
    stream_id: int
    second: int
    good: int
    bad: int
    late: bool


class _Sum(NamedTuple):
    stream_id: int
    good: int
    bad: int


def _pulse(_: object) -> Callable[[Sequence[Any]], Pulse]:
    """Rows of five columns; ``class_row`` takes twice the time, of which there is little when many rows are read."""
    return Pulse._make


class PulseReader:
    """Remembers which pulses were read. One per leadership: whoever takes over starts with ``read_history``."""

    def __init__(self) -> None:
        self._seen: dict[int, datetime] = {}
        self._newest: datetime | None = None
        self._reads = 0

    @property
    def newest_received_at(self) -> datetime | None:
        """When a collector took the newest pulse that was read."""
        return self._newest

    async def read_history(self, connection: Connection, now: datetime) -> list[Pulse]:
        """Everything up to now that a window can hold. What it counted is not returned by ``read_new`` again.

        Minutes that only ``slo_minute`` still knows are counted in their last second: at most 59 s too long in a window
        of 6 h.
        """
        boundary = (now - _BY_SECOND).replace(second=0, microsecond=0)
        found = []
        cursor = connection.cursor(binary=True, row_factory=_pulse)
        await cursor.execute(
            # seconds of which the pulses are still there, and pulses that no minute holds yet
            """SELECT stream_id AS stream, extract(epoch FROM second)::bigint AS second,
                      sum(good)::bigint AS good, sum(bad)::bigint AS bad, received_at > second + %s AS late
               FROM pulses WHERE second >= %s OR NOT folded GROUP BY 1, 2, late""",
            (_LATE, boundary),
        )
        found += await cursor.fetchall()
        await cursor.execute(
            # whole minutes before those
            """SELECT stream_id AS stream, extract(epoch FROM minute)::bigint + %s AS second, good, bad, true AS late
               FROM slo_minute WHERE minute >= %s AND minute < %s""",
            (_MINUTE_END, now - timedelta(seconds=SPAN_SECONDS), boundary),
        )
        found += await cursor.fetchall()
        # the newest pulse: reading goes on from there
        newest = await (await connection.execute("SELECT max(received_at) FROM pulses")).fetchone()
        self._newest = now if newest is None or not isinstance(newest[0], datetime) else min(newest[0], now)
        await self._fetch(connection, OVERLAP)
        return found

    async def read_new(self, connection: Connection, now: datetime) -> list[Pulse]:
        """Pulses that became visible since the last read."""
        self._reads += 1
        full = self._reads % _FULL_EVERY == 0
        new = await self._fetch(connection, OVERLAP if full else _SHORT_OVERLAP)
        if new:
            # The clock of a collector that is ahead must not make us skip what the others write.
            self._newest = max(self._newest or now, min(now, max(pulse.received_at for pulse in new)))
        if full and self._newest is not None:
            limit = self._newest - OVERLAP
            self._seen = {id: received_at for id, received_at in self._seen.items() if received_at >= limit}
        return [Pulse(pulse.stream_id, pulse.second, pulse.good, pulse.bad, pulse.late) for pulse in new]

    async def _fetch(self, connection: Connection, overlap: timedelta) -> list[_NewPulse]:
        assert self._newest is not None, "read_history comes first"
        cursor = connection.cursor(row_factory=class_row(_NewPulse))
        await cursor.execute(
            # pulses that a collector took lately
            """SELECT id, received_at, stream_id, extract(epoch FROM second)::bigint AS second, good, bad,
                      received_at > second + %s AS late
               FROM pulses WHERE received_at >= %s""",
            (_LATE, self._newest - overlap),
        )
        new = [pulse for pulse in await cursor.fetchall() if pulse.id not in self._seen]
        self._seen.update((pulse.id, pulse.received_at) for pulse in new)
        return new


async def read_streams(connection: Connection, objective_ids: Sequence[str]) -> list[Stream]:
    """The streams of some objectives."""
    cursor = await connection.execute(
        # streams by objective
        "SELECT id, objective_id, labels FROM streams WHERE objective_id = ANY(%s) ORDER BY id",
        (list(objective_ids),),
    )
    return [
        Stream(int(str(id)), str(objective), parse_labels(str(labels))) for id, objective, labels in await cursor.fetchall()
    ]


async def read_period(connection: Connection, streams: Iterable[int], since: datetime) -> dict[int, Tally]:
    """Verdicts since a time, by stream: folded minutes, and the pulses that wait to be folded."""
    cursor = connection.cursor(row_factory=class_row(_Sum))
    await cursor.execute(
        # verdicts of a whole period
        """SELECT stream_id, sum(good)::bigint AS good, sum(bad)::bigint AS bad FROM (
               SELECT stream_id, good, bad FROM slo_minute WHERE minute >= %(since)s AND stream_id = ANY(%(streams)s)
               UNION ALL
               SELECT stream_id, good, bad FROM pulses
               WHERE NOT folded AND second >= %(since)s AND stream_id = ANY(%(streams)s)
           ) AS verdicts GROUP BY stream_id""",
        {"since": since, "streams": list(streams)},
    )
    return {row.stream_id: Tally(row.good, row.bad) for row in await cursor.fetchall()}


async def read_past(connection: Connection, streams: Iterable[int], periods: Iterable[int], now: datetime) -> dict[int, Past]:
    """What minutes say of each stream: verdicts over the tickets' windows, over 30 days and over ``periods`` [days]."""
    slow = {seconds for rule in TICKETS for seconds in (rule.long_seconds, rule.short_seconds)}
    windows = sorted(slow | {MONTH_SECONDS} | {days * 86_400 for days in periods})
    sums = sql.SQL(", ").join(
        sql.SQL("coalesce(sum({}) FILTER (WHERE minute > {}), 0)::bigint").format(
            sql.Identifier(name), sql.Literal(now - timedelta(seconds=seconds))
        )
        for seconds in windows
        for name in ("good", "bad")
    )
    ids = list(streams)
    clusters = await _read_clustering(connection, ids, now)
    cursor = await connection.execute(
        # verdicts over long windows, in one pass: folded minutes, and the pulses that wait to be folded
        sql.SQL(
            """SELECT stream_id, extract(epoch FROM min(minute))::bigint, {} FROM (
                   SELECT stream_id, minute, good, bad FROM slo_minute WHERE minute >= %(since)s AND stream_id = ANY(%(ids)s)
                   UNION ALL
                   SELECT stream_id, second, good, bad FROM pulses
                   WHERE NOT folded AND second >= %(since)s AND stream_id = ANY(%(ids)s)
               ) AS verdicts GROUP BY stream_id"""
        ).format(sums),
        {"since": now - timedelta(seconds=MONTH_SECONDS), "ids": ids},
    )
    rows: Sequence[Sequence[Any]] = await cursor.fetchall()
    pasts = {}
    for stream, first, *tallies in rows:
        by_window = {seconds: Tally(*tallies[2 * at : 2 * at + 2]) for at, seconds in enumerate(windows)}
        pasts[stream] = Past(by_window, first, clusters.get(stream, clustering(0, 0, 0)))
    return pasts


async def _read_clustering(connection: Connection, streams: Sequence[int], now: datetime) -> dict[int, float]:
    """How the failures of each stream clustered in 30 days, the outages left out."""
    cursor = await connection.execute(
        # failures by 5 minutes: their squares, and their products with those of the 5 minutes before
        """SELECT stream_id, sum(bad * bad)::float8, coalesce(sum(bad * before) FILTER (WHERE follows), 0)::float8,
                  sum(bad)::float8
           FROM (
               SELECT stream_id, bad, lag(bad) OVER ordered AS before, lag(bin) OVER ordered = bin - %(bin)s AS follows
               FROM (
                   SELECT stream_id, date_bin(%(bin)s, minute, 'epoch') AS bin, sum(bad) AS bad
                   FROM slo_minute
                   WHERE minute >= %(since)s AND stream_id = ANY(%(ids)s) AND bad > 0
                     AND NOT (bad >= good AND good + bad >= %(outage)s)
                   GROUP BY 1, 2
               ) AS bins
               WINDOW ordered AS (PARTITION BY stream_id ORDER BY bin)
           ) AS failing GROUP BY stream_id""",
        {
            "bin": timedelta(seconds=BIN_SECONDS),
            "since": now - timedelta(seconds=MONTH_SECONDS),
            "ids": list(streams),
            "outage": OUTAGE_REQUESTS,
        },
    )
    rows: Sequence[Sequence[Any]] = await cursor.fetchall()
    return {stream: clustering(squares, neighbours, failures) for stream, squares, neighbours, failures in rows}
