"""A fleet of one model as values, at a time that does not move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from alerts.alert import Alert, State, advance
from alerts.burn import Tally
from alerts.finding import Finding, Harm
from alerts.fleet import Fleet, ReplicaState
from alerts.symptoms import find_symptoms
from collector.config import Config, Model
from collector.event import Change, ChangeKind, Event, EventKind
from collector.sample import Health
from collector.target import Target

NOW = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)
CONFIG = Config(targets=(Target(url="http://h:8000", replica="vllm-0"),), models={"llama": Model(min_ready=1)})
HURT = {"llama": Harm(Tally(3, 37), hurt=True)}
IDS = ",".join(f"cmpl-{n}" for n in range(7))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def replica(name: str = "vllm-0", **changes: object) -> ReplicaState:
    healthy = ReplicaState(
        replica=name,
        model="llama",
        environment="production",
        cluster="default",
        health=Health.READY,
        health_status=200,
        health_since=ago(7200),
        checked_at=ago(1),
        ready_at=ago(1),
        scraped_at=ago(5),
        gauges_frozen_since=None,
        zombie=False,
    )
    return healthy._replace(**changes)  # type: ignore[arg-type]  # a test names its own fields


def gone(name: str = "vllm-0", *, seconds: float = 8, **changes: object) -> ReplicaState:
    down = {
        "health": Health.FAILING,
        "health_status": 503,
        "health_since": ago(seconds - 1),
        "ready_at": ago(seconds),
        "checked_at": NOW,
    }
    return replica(name, **{**down, **changes})


def fleet(*replicas: ReplicaState, **changes: object) -> Fleet:
    usual = Fleet(replicas, ago(2), ago(86_400), 0.0, True, True)
    return usual._replace(**changes)  # type: ignore[arg-type]  # a test names its own fields


def event(kind: EventKind, seconds: float, replica: str = "vllm-0", **detail: str) -> Event:
    return Event(at=ago(seconds), kind=kind, replica=replica, model="llama", detail=detail)


def oom(seconds: float, replica: str = "vllm-0", requests: str = "") -> Event:
    return event(EventKind.OOM, seconds, replica, cause="oom", pattern="20", requests=requests)


def death(seconds: float, cause: str = "oom", replica: str = "vllm-0", requests: str = "") -> Event:
    return event(EventKind.DEATH, seconds, replica, cause=cause, pattern="20", requests=requests)


def restart(seconds: float, replica: str = "vllm-0", booted: float | None = None) -> Event:
    return event(EventKind.RESTART, seconds, replica, started_at=ago(seconds if booted is None else booted).isoformat())


def change(seconds: float, **fields: object) -> Change:
    usual: dict[str, object] = {"at": ago(seconds), "kind": ChangeKind.DEPLOY, "source": "ci"}
    return Change(**(usual | fields))  # type: ignore[arg-type]  # a test names its own fields


def find(
    seen: Fleet, harm: Mapping[str, Harm] | None = None, alerts: Iterable[Alert] = (), now: datetime = NOW
) -> list[Finding]:
    known = {alert.fingerprint: alert for alert in alerts}
    return list(find_symptoms(seen, harm or {}, CONFIG, ago(86_400), now, known).findings)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def name(finding: Finding) -> str:
    return finding.labels["alertname"]


def fire(finding: Finding, seconds: float = 0) -> Alert:
    """The alert of a finding, told some time ago."""
    at = ago(seconds)
    return advance(Alert(labels=finding.labels, since=at), finding.observation, at).alert


def ended(alert: Alert, seconds: float) -> Alert:
    return Alert(
        labels=alert.labels,
        since=ago(seconds),
        state=State.RESOLVED,
        starts_at=alert.starts_at,
        ends_at=ago(seconds),
        known=alert.known,
    )
