"""The state of alerts: read when a leader begins, written with its flips and notifications in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from alerts.alert import Alert, Step, restore
from alerts.store.leader import Connection
from collector.sink import Sink


class _AlertRow(NamedTuple):
    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    detector: dict[str, str | int]
    starts_at: datetime | None
    ends_at: datetime | None


async def read_alerts(connection: Connection) -> list[Alert]:
    """Every alert that was ever seen."""
    cursor = connection.cursor(row_factory=class_row(_AlertRow))
    # the state of all alerts
    await cursor.execute("SELECT labels, annotations, state, detector, starts_at, ends_at FROM alerts")
    return [
        restore(row.labels, row.state, row.detector, row.starts_at, row.ends_at, row.annotations)
        for row in await cursor.fetchall()
    ]


async def write_steps(connection: Connection, steps: Iterable[Step], sinks: Sequence[Sink], now: datetime) -> None:
    """Write what an evaluation changed. The caller's transaction makes it one: state, flips and notifications, or nothing."""
    for step in steps:
        await _write_alert(connection, step.alert, now)
        for flip in step.flips:
            await connection.execute(
                # one change of a state
                "INSERT INTO flips (fingerprint, at, from_state, to_state, reason) VALUES (%s, %s, %s, %s, %s)",
                (step.alert.fingerprint, flip.at, flip.from_state, flip.to_state, flip.reason),
            )
        for notice in step.notices:
            ends_at = notice.ends_at.isoformat() if notice.ends_at else None
            raised_at = step.alert.raised_at.isoformat() if step.alert.raised_at else None
            payload = {
                "labels": step.alert.sent_labels,
                "annotations": dict(step.alert.annotations),
                "ends_at": ends_at,
                "raised_at": raised_at,
            }
            for sink in told(step.alert, sinks):
                await connection.execute(
                    # one notification to one sink; told once, however often the evaluation says it
                    """INSERT INTO outbox (fingerprint, starts_at, revision, status, sink, payload, created_at, attempts,
                                           next_attempt_at)
                       VALUES (%s, %s, %s, %s, %s, %s, %s, 0, %s) ON CONFLICT DO NOTHING""",
                    (
                        step.alert.fingerprint,
                        notice.starts_at,
                        notice.revision,
                        notice.status,
                        sink.name,
                        Jsonb(payload),
                        now,
                        now,
                    ),
                )


def told(alert: Alert, sinks: Sequence[Sink]) -> list[Sink]:
    """The sinks that an alert is for. That a sink takes nothing is not told to it: what waits for it would only grow."""
    failing = alert.labels.get("sink")
    return [sink for sink in sinks if sink.name != failing and alert.severity.value in sink.severities]


async def _write_alert(connection: Connection, alert: Alert, now: datetime) -> None:
    await connection.execute(
        # the state of one alert
        """INSERT INTO alerts (fingerprint, name, labels, annotations, state, detector, starts_at, ends_at, updated_at)
           VALUES (%(fingerprint)s, %(name)s, %(labels)s, %(annotations)s, %(state)s, %(detector)s, %(starts_at)s, %(ends_at)s,
                   %(updated_at)s)
           ON CONFLICT (fingerprint) DO UPDATE SET
               labels = excluded.labels, annotations = excluded.annotations, state = excluded.state,
               detector = excluded.detector, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
               updated_at = excluded.updated_at""",
        {
            "fingerprint": alert.fingerprint,
            "name": alert.name,
            "labels": Jsonb(alert.sent_labels),
            "annotations": Jsonb(dict(alert.annotations)),
            "state": alert.state,
            "detector": Jsonb(alert.detector),
            "starts_at": alert.starts_at,
            "ends_at": alert.ends_at,
            "updated_at": now,
        },
    )
