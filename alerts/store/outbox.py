"""The outbox: notifications that wait for a sink. Claimed by the row count of an UPDATE, delivered at least once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg.rows import class_row

from alerts.notify.notification import Notification
from alerts.sink import Trouble
from alerts.store.leader import Connection
from alerts.store.mute import hold
from collector.store.connection import Database

RESOLVED_RESENT = timedelta(minutes=5)
"""How long a sink that forgets is told of an end: one that was cut off when it came would let the alert fire on."""
REFUSED_TOLD = timedelta(days=1)
"""How long it is told that a sink refuses, where nothing else is sent to it that it could take."""
_CLAIM = 32
"""Notifications claimed at once; their groups are sent side by side, so that all fit into one lease."""


class Claimed(NamedTuple):
    """A notification that this process may try to deliver until its claim runs out. ``attempts`` counts this one."""

    id: int
    attempts: int
    notification: Notification


class _OutboxRow(NamedTuple):
    id: int
    attempts: int
    fingerprint: str
    status: str
    starts_at: datetime
    payload: dict[str, dict[str, str]]
    ends_at: datetime | None
    raised_at: datetime | None


async def claim(database: Database, sink: str, now: datetime, lease: timedelta, *, mutes: bool = True) -> list[Claimed]:
    """Take what is due for a sink. Who dies with a claim loses it after ``lease``, and another one delivers.

    Of one alert only the oldest that is still open is taken: a "firing" that must be tried again may not arrive after its
    "resolved".

    :param mutes: whether mutes hold for this sink
    :raises StoreUnavailable: when Postgres did not commit
    """
    async with database.transaction() as connection:
        if mutes:
            await hold(connection, sink, now)
        cursor = connection.cursor(row_factory=class_row(_OutboxRow))
        await cursor.execute(
            # claim what is due, oldest first
            """UPDATE outbox SET attempts = attempts + 1, next_attempt_at = %(until)s
               WHERE id IN (
                   SELECT id FROM outbox AS due
                   WHERE sink = %(sink)s AND delivered_at IS NULL AND failed_at IS NULL AND next_attempt_at <= %(now)s
                     AND (muted_by IS NULL OR released_at IS NOT NULL)
                     AND NOT EXISTS (
                         SELECT FROM outbox AS earlier
                         WHERE earlier.sink = due.sink AND earlier.fingerprint = due.fingerprint AND earlier.id < due.id
                           AND earlier.delivered_at IS NULL AND earlier.failed_at IS NULL
                           AND (earlier.muted_by IS NULL OR earlier.released_at IS NOT NULL))
                   ORDER BY id LIMIT %(limit)s FOR UPDATE OF due SKIP LOCKED)
               RETURNING id, attempts, fingerprint, status, starts_at, payload,
                         (payload ->> 'ends_at')::timestamptz AS ends_at,
                         (payload ->> 'raised_at')::timestamptz AS raised_at""",
            {"sink": sink, "now": now, "until": now + lease, "limit": _CLAIM},
        )
        rows = sorted(await cursor.fetchall())
    return [_claimed(row) for row in rows]


async def release_claims(connection: Connection, now: datetime) -> None:
    """Make everything due that is open: who claimed it led before, and may be dead. If it is not, a sink is told twice."""
    # take over what a former leader has claimed
    await connection.execute(
        "UPDATE outbox SET next_attempt_at = %(now)s "
        "WHERE delivered_at IS NULL AND failed_at IS NULL AND next_attempt_at > %(now)s",
        {"now": now},
    )


def _claimed(row: _OutboxRow) -> Claimed:
    notification = Notification(
        fingerprint=row.fingerprint,
        status=row.status,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        labels=row.payload["labels"],
        annotations=row.payload["annotations"],
        raised_at=row.raised_at,
    )
    return Claimed(row.id, row.attempts, notification)


async def read_current(database: Database, sink: str, now: datetime) -> list[Notification]:
    """What fires, and what ended within ``RESOLVED_RESENT``, as it is now. What the sink has still to be told for the first
    time is left to the outbox: sent from here it would overtake what was before it.

    :raises StoreUnavailable: when Postgres cannot be read
    """
    async with database.transaction() as connection:
        cursor = connection.cursor(row_factory=class_row(Notification))
        await cursor.execute(
            # alerts as they are now, without those that wait in the outbox
            """SELECT fingerprint, CASE state WHEN 'resolved' THEN 'resolved' ELSE 'firing' END AS status, starts_at,
                      CASE state WHEN 'resolved' THEN ends_at END AS ends_at, labels, annotations,
                      CASE WHEN (detector ->> 'raised_at')::timestamptz > %(since)s
                           THEN (detector ->> 'raised_at')::timestamptz END AS raised_at
               FROM alerts
               WHERE (state IN ('firing', 'resolving') OR (state = 'resolved' AND ends_at > %(since)s))
                 AND NOT EXISTS (
                     SELECT FROM outbox
                     WHERE sink = %(sink)s AND outbox.fingerprint = alerts.fingerprint
                       AND delivered_at IS NULL AND failed_at IS NULL)
               ORDER BY fingerprint""",
            {"sink": sink, "since": now - RESOLVED_RESENT},
        )
        return await cursor.fetchall()


async def settle_delivered(database: Database, ids: list[int], now: datetime) -> None:
    """The sink has taken them."""
    async with database.transaction() as connection:
        # mark as delivered
        await connection.execute("UPDATE outbox SET delivered_at = %s, last_error = NULL WHERE id = ANY(%s)", (now, ids))


async def settle_retry(database: Database, id: int, error: str, next_attempt_at: datetime) -> None:
    """The sink did not take it this time."""
    async with database.transaction() as connection:
        await connection.execute(
            # try again later
            "UPDATE outbox SET next_attempt_at = %s, last_error = %s WHERE id = %s",
            (next_attempt_at, error, id),
        )


async def settle_failed(database: Database, ids: list[int], error: str, now: datetime) -> None:
    """The sink will never take them."""
    async with database.transaction() as connection:
        await connection.execute(
            # give up
            "UPDATE outbox SET failed_at = %s, last_error = %s WHERE id = ANY(%s)",
            (now, error, ids),
        )


async def read_troubles(connection: Connection, now: datetime) -> list[Trouble]:
    """Sinks that have not taken what they were sent, and have taken nothing since."""
    cursor = connection.cursor(row_factory=class_row(Trouble))
    await cursor.execute(
        # what waits after a failed attempt, and what was refused lately without anything taken since, by sink
        """SELECT sink, min(coalesce(failed_at, created_at)) AS since,
                  (count(*) FILTER (WHERE failed_at IS NULL))::int AS waiting,
                  (count(*) FILTER (WHERE failed_at IS NOT NULL))::int AS refused,
                  bool_or(payload -> 'labels' ->> 'severity' = 'page') AS pages,
                  (array_agg(last_error ORDER BY id DESC))[1] AS error
           FROM outbox
           WHERE delivered_at IS NULL AND last_error IS NOT NULL AND attempts > 0
             AND (failed_at IS NULL
                  OR (failed_at > %(since)s AND NOT EXISTS (
                          SELECT FROM outbox AS taken
                          WHERE taken.sink = outbox.sink AND taken.delivered_at > outbox.failed_at)))
             AND (failed_at IS NULL OR muted_by IS NULL OR released_at IS NOT NULL)
           GROUP BY sink""",
        {"since": now - REFUSED_TOLD},
    )
    return await cursor.fetchall()
