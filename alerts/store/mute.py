"""Mutes, and what waits for their end. What a mute holds back stays in the outbox, as a record of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from alerts.mute import Mute
from alerts.store.leader import Connection

_COLUMNS = "id, matchers, author, reason, created_at, expires_at, ended_at"
_MUTED = """EXISTS (
    SELECT FROM mutes WHERE mutes.expires_at > %(now)s AND mutes.ended_at IS NULL
      AND outbox.payload -> 'labels' @> mutes.matchers)"""
"""Whether a notification belongs to an alert that is muted now."""
_HELD = "muted_by IS NOT NULL AND released_at IS NULL AND failed_at IS NULL AND delivered_at IS NULL"


class Firing(NamedTuple):
    """An alert that fires now."""

    fingerprint: str
    summary: str


async def add_mute(
    connection: Connection, matchers: Mapping[str, str], *, author: str, reason: str, now: datetime, expires_at: datetime
) -> int:
    """Mute from now on. Returns the mute's id."""
    cursor = await connection.execute(
        # a new mute
        "INSERT INTO mutes (matchers, author, reason, created_at, expires_at) VALUES (%s, %s, %s, %s, %s) RETURNING id",
        (Jsonb(dict(matchers)), author, reason, now, expires_at),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(str(row[0]))


async def read_mutes(connection: Connection, since: datetime) -> list[Mute]:
    """The mutes that were not over at a time, the oldest first."""
    cursor = connection.cursor(row_factory=class_row(Mute))
    # mutes, but those that were over long ago
    await cursor.execute(f"SELECT {_COLUMNS} FROM mutes WHERE least(expires_at, ended_at) >= %s ORDER BY id", (since,))
    return await cursor.fetchall()


async def end_mute(connection: Connection, id: int, now: datetime) -> bool:
    """End a mute. Returns whether there was one to end."""
    cursor = await connection.execute(
        # end a mute before its time
        "UPDATE mutes SET ended_at = %(now)s WHERE id = %(id)s AND ended_at IS NULL AND expires_at > %(now)s",
        {"id": id, "now": now},
    )
    return cursor.rowcount == 1


async def read_firing(connection: Connection, matchers: Mapping[str, str]) -> list[Firing]:
    """The alerts that fire now and have these labels."""
    cursor = connection.cursor(row_factory=class_row(Firing))
    await cursor.execute(
        # what a mute concerns now
        """SELECT fingerprint, coalesce(annotations ->> 'summary', name) AS summary FROM alerts
           WHERE state IN ('firing', 'resolving') AND labels @> %s ORDER BY starts_at""",
        (Jsonb(dict(matchers)),),
    )
    return await cursor.fetchall()


async def hold(connection: Connection, sink: str, now: datetime) -> None:
    """Before a direct sink is told anything: let go what is muted no longer, and hold back what is muted."""
    # whether anything was ever muted
    cursor = await connection.execute("SELECT EXISTS (SELECT FROM mutes)")
    if await cursor.fetchone() != (True,):
        return
    values = {"sink": sink, "now": now}
    await connection.execute(
        # what fires still when its mute is over is told once, as it is now
        f"""UPDATE outbox SET released_at = %(now)s, next_attempt_at = %(now)s,
                   payload = payload || jsonb_build_object('labels', alerts.labels, 'annotations', alerts.annotations)
            FROM alerts
            WHERE outbox.id IN (
                SELECT max(id) FROM outbox WHERE sink = %(sink)s AND {_HELD} AND status = 'firing' AND NOT {_MUTED}
                GROUP BY fingerprint)
              AND alerts.fingerprint = outbox.fingerprint AND alerts.starts_at = outbox.starts_at
              AND alerts.state IN ('firing', 'resolving')""",
        values,
    )
    await connection.execute(
        # what is over by then is told to nobody
        f"""UPDATE outbox SET failed_at = %(now)s, last_error = 'muted, and over before the mute was'
            WHERE sink = %(sink)s AND {_HELD} AND NOT {_MUTED}""",
        values,
    )
    await connection.execute(
        # hold back what is muted; what was on its way already is not called back
        f"""UPDATE outbox SET muted_by = (
                SELECT min(id) FROM mutes WHERE mutes.expires_at > %(now)s AND mutes.ended_at IS NULL
                  AND outbox.payload -> 'labels' @> mutes.matchers)
            WHERE sink = %(sink)s AND delivered_at IS NULL AND failed_at IS NULL AND next_attempt_at <= %(now)s
              AND muted_by IS NULL AND status = 'firing' AND {_MUTED}""",
        values,
    )
    await connection.execute(
        # nobody hears of the end of what nobody heard of
        """UPDATE outbox SET muted_by = held.muted_by
           FROM outbox AS held
           WHERE outbox.sink = %(sink)s AND outbox.status = 'resolved' AND outbox.delivered_at IS NULL
             AND outbox.failed_at IS NULL AND outbox.muted_by IS NULL
             AND held.sink = outbox.sink AND held.fingerprint = outbox.fingerprint AND held.starts_at = outbox.starts_at
             AND held.status = 'firing' AND held.muted_by IS NOT NULL
             AND NOT EXISTS (
                 SELECT FROM outbox AS told
                 WHERE told.sink = outbox.sink AND told.fingerprint = outbox.fingerprint AND told.starts_at = outbox.starts_at
                   AND told.status = 'firing' AND (told.muted_by IS NULL OR told.released_at IS NOT NULL)
                   AND told.failed_at IS NULL)""",
        values,
    )
