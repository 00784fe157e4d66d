"""What others read: the alerts that matter now, and the state of every SLO. For the live view and the status page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg.rows import class_row

from alerts.alert import Alert
from alerts.burn import Tally, spent
from alerts.slo import Slo
from alerts.store.leader import Connection
from alerts.store.pulse import read_period, read_streams
from alerts.watch import identity
from collector.config import Config

_RESOLVED_SHOWN = timedelta(hours=1)
_LONG, _SHORT = timedelta(hours=1), timedelta(minutes=5)
_LATE = timedelta(minutes=5)


class AlertStatus(NamedTuple):
    """One alert that is pending, firing or resolving, or was resolved within the hour."""

    name: str
    labels: Mapping[str, str]
    """The severity included."""
    annotations: Mapping[str, str]
    state: str
    starts_at: datetime | None
    ends_at: datetime | None


class SloStatus(NamedTuple):
    """One SLO on one stream."""

    slo: str
    labels: Mapping[str, str]
    """The stream's group-by values."""
    target: float
    """Share of requests that must be good, 0 to 1."""
    burn_5m: float
    burn_1h: float
    requests_5m: int
    budget_left: float
    """Share of the period's budget that is left; negative when it is overdrawn."""
    state: str
    """State of its alert: ``inactive`` where there never was one."""


class _Sums(NamedTuple):
    stream_id: int
    good_5m: int
    bad_5m: int
    good_1h: int
    bad_1h: int


async def read_alert_statuses(connection: Connection, now: datetime) -> list[AlertStatus]:
    """The alerts that matter now, those that fire first, then the newest first."""
    cursor = connection.cursor(row_factory=class_row(AlertStatus))
    await cursor.execute(
        # alerts that are not over for long
        """SELECT name, labels, annotations, state, starts_at, ends_at FROM alerts
           WHERE state IN ('pending', 'firing', 'resolving') OR (state = 'resolved' AND ends_at > %s)
           ORDER BY state = 'firing' DESC, state = 'resolving' DESC, updated_at DESC, fingerprint""",
        (now - _RESOLVED_SHOWN,),
    )
    return await cursor.fetchall()


async def read_slo_statuses(connection: Connection, slos: Sequence[Slo], config: Config, now: datetime) -> list[SloStatus]:
    """Every SLO on every stream that has one, in the order of the SLOs."""
    streams = await read_streams(connection, sorted({slo.objective.id for slo in slos}))
    sums = {row.stream_id: row for row in await _read_sums(connection, [stream.id for stream in streams], now)}
    # the states of alerts, by identity
    cursor = await connection.execute("SELECT fingerprint, state FROM alerts WHERE name = 'SLOBurn'")
    states = {str(fingerprint): str(state) for fingerprint, state in await cursor.fetchall()}
    found = []
    for slo in slos:
        own = [stream for stream in streams if stream.objective_id == slo.objective.id]
        verdicts = await read_period(connection, [stream.id for stream in own], now - timedelta(days=slo.period_days))
        for stream in own:
            part = sums.get(stream.id, _Sums(stream.id, 0, 0, 0, 0))
            alert = Alert(labels=identity(slo, stream, config), since=now)
            found.append(
                SloStatus(
                    slo=slo.name,
                    labels=stream.labels,
                    target=float(slo.target),
                    burn_5m=Tally(part.good_5m, part.bad_5m).burn(slo.budget),
                    burn_1h=Tally(part.good_1h, part.bad_1h).burn(slo.budget),
                    requests_5m=part.good_5m + part.bad_5m,
                    budget_left=1 - spent(verdicts.get(stream.id, Tally(0, 0)), slo.budget),
                    state=states.get(alert.fingerprint, "inactive"),
                )
            )
    return found


async def _read_sums(connection: Connection, streams: Sequence[int], now: datetime) -> list[_Sums]:
    cursor = connection.cursor(row_factory=class_row(_Sums))
    await cursor.execute(
        # verdicts of the last 5 minutes and the last hour
        """SELECT stream_id,
                  coalesce(sum(good) FILTER (WHERE second > %(short)s), 0)::bigint AS good_5m,
                  coalesce(sum(bad) FILTER (WHERE second > %(short)s), 0)::bigint AS bad_5m,
                  coalesce(sum(good), 0)::bigint AS good_1h, coalesce(sum(bad), 0)::bigint AS bad_1h
           FROM pulses
           WHERE received_at > %(received)s AND second > %(long)s AND second <= %(now)s AND stream_id = ANY(%(streams)s)
           GROUP BY stream_id""",
        {
            "now": now,
            "short": now - _SHORT,
            "long": now - _LONG,
            # Requests end before they are received; a clock that is a little ahead is allowed for.
            "received": now - _LONG - _LATE,
            "streams": list(streams),
        },
    )
    return await cursor.fetchall()
