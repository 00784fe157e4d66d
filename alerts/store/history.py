"""What is kept of alerts, read for people who look back."""

from __future__ import annotations

from datetime import datetime

from psycopg.rows import class_row

from alerts.history import Entry, Past, Telling, Turn, Whole
from alerts.store.leader import Connection
from collector.schema import ALL, UNKNOWN

ENTRIES = 5000
"""Lines of a timeline that are read at most."""
_ALERT = """SELECT fingerprint, name, state, labels, annotations - 'tenants' AS annotations, starts_at, ends_at,
       EXISTS (SELECT FROM outbox WHERE outbox.fingerprint = alerts.fingerprint AND muted_by IS NOT NULL
               AND released_at IS NULL AND failed_at IS NULL AND delivered_at IS NULL) AS muted
FROM alerts"""


async def read_alerts_since(connection: Connection, since: datetime | None) -> list[Past]:
    """Alerts that are pending, fire or end, and those that ended since a time; every alert for ``None``. The newest first."""
    cursor = connection.cursor(row_factory=class_row(Past))
    await cursor.execute(
        # alerts, those that fire first
        f"""{_ALERT}
            WHERE %(since)s::timestamptz IS NULL OR state IN ('pending', 'firing', 'resolving') OR ends_at >= %(since)s
            ORDER BY state IN ('firing', 'resolving') DESC, coalesce(starts_at, updated_at) DESC, fingerprint""",
        {"since": since},
    )
    return await cursor.fetchall()


async def read_whole(connection: Connection, fingerprint: str) -> list[Whole]:
    """The alerts whose fingerprint begins so, each whole: one, where enough of it is given."""
    cursor = connection.cursor(row_factory=class_row(Past))
    # an alert, by the beginning of its fingerprint
    await cursor.execute(f"{_ALERT} WHERE starts_with(fingerprint, %s) ORDER BY fingerprint LIMIT 10", (fingerprint,))
    return [
        Whole(alert, await _read_turns(connection, alert.fingerprint), await _read_tellings(connection, alert.fingerprint))
        for alert in await cursor.fetchall()
    ]


async def _read_turns(connection: Connection, fingerprint: str) -> list[Turn]:
    cursor = connection.cursor(row_factory=class_row(Turn))
    # every change of one alert
    await cursor.execute(
        "SELECT at, from_state, to_state, reason FROM flips WHERE fingerprint = %s ORDER BY at, id", (fingerprint,)
    )
    return await cursor.fetchall()


async def _read_tellings(connection: Connection, fingerprint: str) -> list[Telling]:
    cursor = connection.cursor(row_factory=class_row(Telling))
    await cursor.execute(
        # every notification of one alert
        """SELECT sink, status, revision, created_at, delivered_at, failed_at, attempts, last_error, muted_by, released_at
           FROM outbox WHERE fingerprint = %s ORDER BY id""",
        (fingerprint,),
    )
    return await cursor.fetchall()


async def read_timeline(connection: Connection, since: datetime, until: datetime) -> list[Entry]:
    """What happened between two times, in order: flips, notifications, mutes, and what engines and people did.

    Of more than ``ENTRIES`` the first ones are returned.
    """
    cursor = connection.cursor(row_factory=class_row(Entry))
    await cursor.execute(
        # everything that has a time, in one order
        """SELECT at, what, about, text FROM (
               SELECT at, 'alert' AS what, alerts.name || ' ' || fingerprint AS about,
                      from_state || ' to ' || to_state || ': ' || reason AS text, id
               FROM flips JOIN alerts USING (fingerprint) WHERE at >= %(since)s AND at <= %(until)s
               UNION ALL
               SELECT delivered_at, 'told', alerts.name || ' ' || outbox.fingerprint, sink || ': ' || status, id
               FROM outbox JOIN alerts USING (fingerprint) WHERE delivered_at >= %(since)s AND delivered_at <= %(until)s
               UNION ALL
               SELECT failed_at, 'not told', alerts.name || ' ' || outbox.fingerprint,
                      sink || ': ' || status || ', ' || coalesce(last_error, 'refused'), id
               FROM outbox JOIN alerts USING (fingerprint) WHERE failed_at >= %(since)s AND failed_at <= %(until)s
               UNION ALL
               SELECT created_at, 'not told', alerts.name || ' ' || outbox.fingerprint,
                      sink || ': ' || status || ', held back by mute ' || muted_by, id
               FROM outbox JOIN alerts USING (fingerprint)
               WHERE muted_by IS NOT NULL AND created_at >= %(since)s AND created_at <= %(until)s
               UNION ALL
               SELECT created_at, 'mute', 'mute ' || id, 'by ' || author || ': ' || reason || ' ' || matchers::text, id
               FROM mutes WHERE created_at >= %(since)s AND created_at <= %(until)s
               UNION ALL
               SELECT least(ended_at, expires_at), 'mute', 'mute ' || id, 'is over', id
               FROM mutes WHERE least(ended_at, expires_at) >= %(since)s AND least(ended_at, expires_at) <= %(until)s
               UNION ALL
               SELECT at, 'event', replicas.name, kind || CASE WHEN detail = '{}' THEN '' ELSE ' ' || detail::text END,
                      events.id
               FROM events JOIN replicas ON replicas.id = replica_id
               WHERE at >= %(since)s AND at <= %(until)s AND kind NOT IN ('scrape_failed', 'scrape_recovered')
               UNION ALL
               SELECT at, 'change',
                      coalesce(CASE WHEN replica_id NOT IN (%(all)s, %(unknown)s) THEN replicas.name END,
                               CASE WHEN model_id NOT IN (%(all)s, %(unknown)s) THEN models.name END, 'all'),
                      kind || ' by ' || source || CASE WHEN detail = '{}' THEN '' ELSE ' ' || detail::text END, changes.id
               FROM changes JOIN replicas ON replicas.id = replica_id JOIN models ON models.id = model_id
               WHERE at >= %(since)s AND at <= %(until)s
           ) AS timeline ORDER BY at, what, id LIMIT %(limit)s""",
        {"since": since, "until": until, "all": ALL, "unknown": UNKNOWN, "limit": ENTRIES},
    )
    return await cursor.fetchall()
