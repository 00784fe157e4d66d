"""What the fleet's outage left behind: alerts and their flips, verdicts by minute, replicas' states, events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from alerts.slo import Slo
from collector.event import EventKind
from collector.sample import Health
from collector.schema import alerts, events, flips, objectives, replica_states, slo_minute, streams
from tests.dashboards.fleet import ENVIRONMENTS, MODELS, OUTAGE, REPLICAS, RESET_AT, model_of, write

FIRED_AT = timedelta(minutes=OUTAGE.start + 1)
RESOLVED_AT = timedelta(minutes=OUTAGE.stop + 6)
GOOD, BAD = 1000, 3
"""Verdicts per minute and stream."""
OLD_BAD = 40_000
"""Failures that lie further back than any SLO's period: they must not count."""


def insert(connection: psycopg.Connection[Any], base: datetime, slos: Sequence[Slo]) -> None:
    """Write the incident; ``base`` is the first minute of the fleet's data."""
    _insert_alerts(connection, base)
    _insert_flips(connection, base)
    _insert_verdicts(connection, base, slos)
    write(connection, replica_states, [_state(base, replica) for replica in REPLICAS])
    happened = (
        (timedelta(minutes=OUTAGE.start), EventKind.ENGINE_DOWN, "large-0"),
        (timedelta(minutes=OUTAGE.start, seconds=5), EventKind.DEATH, "large-0"),
        (timedelta(minutes=OUTAGE.stop), EventKind.ENGINE_READY, "large-0"),
        (timedelta(minutes=RESET_AT), EventKind.RESTART, "tiny-0"),
        (timedelta(minutes=-30), EventKind.RESTART, "tiny-1"),
    )
    rows = [
        {
            "at": base + after,
            "kind": kind.value,
            "replica_id": REPLICAS[replica],
            "model_id": MODELS[model_of(replica)],
            "detail": {"cause": "out of memory"} if kind is EventKind.DEATH else {},
        }
        for after, kind, replica in happened
    ]
    write(connection, events, rows)


def _insert_alerts(connection: psycopg.Connection[Any], base: datetime) -> None:
    def alert(fingerprint: str, name: str, labels: dict[str, str], state: str, starts: timedelta) -> dict[str, Any]:
        return {
            "fingerprint": fingerprint,
            "name": name,
            "labels": {"alertname": name, **labels},
            "annotations": {"summary": f"{name} of {labels.get('model', 'everything')}"},
            "state": state,
            "detector": {},
            "starts_at": base + starts,
            "updated_at": base + starts,
        }

    write(
        connection,
        alerts,
        [
            alert("a1", "availability", {"model": "large", "severity": "page"}, "resolved", FIRED_AT),
            alert("a2", "no data", {"severity": "ticket"}, "firing", timedelta(hours=-2)),
            alert("a3", "ttft", {"model": "tiny", "tenant": "acme", "severity": "ticket"}, "pending", timedelta(minutes=35)),
            alert("a4", "engine dead", {"model": "large", "replica": "large-0", "severity": "page"}, "resolving", FIRED_AT),
        ],
    )


def _insert_flips(connection: psycopg.Connection[Any], base: datetime) -> None:
    changes = [
        ("a1", FIRED_AT - timedelta(seconds=9), "inactive", "pending"),
        ("a1", FIRED_AT, "pending", "firing"),
        ("a1", FIRED_AT + timedelta(minutes=1), "firing", "firing"),
        ("a1", RESOLVED_AT - timedelta(minutes=5), "firing", "resolving"),
        ("a1", RESOLVED_AT, "resolving", "resolved"),
        ("a4", FIRED_AT, "inactive", "firing"),
        ("a4", FIRED_AT + timedelta(minutes=3), "firing", "resolving"),
    ]
    rows = [
        {
            "fingerprint": fingerprint,
            "at": base + at,
            "from_state": before,
            "to_state": after,
            "reason": "20 % of requests fail",
        }
        for fingerprint, at, before, after in changes
    ]
    write(connection, flips, rows)


def _insert_verdicts(connection: psycopg.Connection[Any], base: datetime, slos: Sequence[Slo]) -> None:
    definitions, series, minutes = [], [], []
    for number, slo in enumerate(slos, 1):
        definitions.append({"id": slo.objective.id, "definition": slo.objective.definition, "first_seen_at": base})
        series.append({"id": number, "objective_id": slo.objective.id, "labels": '{"model":"tiny"}'})
        longer_ago = base - timedelta(days=slo.period_days, minutes=5)
        minutes.append({"minute": longer_ago, "stream_id": number, "good": 0, "bad": OLD_BAD})
        minutes += [
            {"minute": base + timedelta(minutes=minute), "stream_id": number, "good": GOOD, "bad": BAD} for minute in range(10)
        ]
    write(connection, objectives, definitions)
    write(connection, streams, series)
    write(connection, slo_minute, minutes)


def _state(base: datetime, replica: str) -> dict[str, Any]:
    failing = replica == "large-0"
    return {
        "replica_id": REPLICAS[replica],
        "model_id": MODELS[model_of(replica)],
        "environment_id": ENVIRONMENTS["production"],
        "cluster_id": 1,
        "url": f"http://{replica}:8000",
        "health": int(Health.FAILING if failing else Health.READY),
        "health_status": 503 if failing else 200,
        "health_since": base + FIRED_AT,
        "checked_at": base + timedelta(minutes=40),
        "scraped_at": base + timedelta(minutes=40),
        "requests_running": 3.0,
        "requests_waiting": 0.0,
        "zombie": failing,
    }
