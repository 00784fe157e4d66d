"""The Alert: a state machine.

Pure: what was known, what is seen now and a time go in; what is known from now on, flips and notices come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

REFIRE = timedelta(minutes=10)
"""An alert that fires again within this time after it was resolved is the same alert: its start stays."""
FLAP = timedelta(hours=1)
"""An alert that fires again within this time after it was resolved flaps."""
UPDATE_EVERY = timedelta(seconds=60)
"""Least time between two updates of an alert that fires. The first may come at once."""


class State(StrEnum):
    """Where an alert is. The value is stored."""

    INACTIVE = "inactive"
    PENDING = "pending"
    """Seen, not yet confirmed."""
    FIRING = "firing"
    RESOLVING = "resolving"
    """Over, if it stays so for the hold time. Nobody is told."""
    RESOLVED = "resolved"


class Condition(StrEnum):
    """What an evaluation sees."""

    CLEAR = "clear"
    UNSURE = "unsure"
    """Neither a breach nor proof that it is over."""
    SUSPECT = "suspect"
    """A breach that is not confirmed."""
    BREACH = "breach"
    NO_DATA = "no data"
    """Nothing can be seen. What was known stays."""


class Severity(StrEnum):
    """Whether somebody is woken."""

    TICKET = "ticket"
    PAGE = "page"


class Observation(NamedTuple):
    """What an evaluation says about one alert, and why, in one sentence."""

    condition: Condition
    reason: str
    severity: Severity
    hold_seconds: float
    """How long the condition must be clear before the alert is resolved [s]."""
    known: frozenset[str] = frozenset()
    """What is known of the cause, by short words without commas. When it grows, whoever was told is told again."""


class Flip(NamedTuple):
    """One recorded change: of the state, or of the severity or of what is known while it fires (then both states are the
    same)."""

    at: datetime
    from_state: State
    to_state: State
    reason: str


class Notice(NamedTuple):
    """Something to be told. (fingerprint, starts_at, revision, status) is told once to each sink."""

    status: str
    """``firing`` or ``resolved``."""
    starts_at: datetime
    ends_at: datetime | None
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What must be remembered of one alert.

    ``labels`` are its identity and hold no severity: an alert that rises from a ticket to a page is still the same alert.
    ``revision`` counts what was told under one ``starts_at``: 0 first, one more for each rise in severity, each update and
    each time that it fired again within REFIRE.
    """

    labels: Mapping[str, str]
    since: datetime
    """When it came into its present state; in ``resolving``, since when there is data that says so."""
    state: State = State.INACTIVE
    severity: Severity = Severity.TICKET
    revision: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    raised_at: datetime | None = None
    """When it rose from a ticket to a page while it fired under ``starts_at``. A sink that knows an alert by all its labels
    is then told that the ticket is over."""
    known: frozenset[str] = frozenset()
    """What was told of the cause under ``starts_at``."""
    updated_at: datetime | None = None
    """When it was last told again because more was known."""
    flaps: int = 0
    """How often in a row it fired again within FLAP of its end."""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the SLO rule or symptom."""
        return self.labels["alertname"]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the identity."""
        return fingerprint(self.labels)

    @property
    def active(self) -> bool:
        """Whether somebody has been told and has not been told that it is over."""
        return self.state in (State.FIRING, State.RESOLVING)

    @property
    def detector(self) -> dict[str, str | int]:
        """What has no column of its own, as JSON."""
        raised = {} if self.raised_at is None else {"raised_at": self.raised_at.isoformat()}
        known = {"known": ",".join(sorted(self.known))} if self.known else {}
        updated = {} if self.updated_at is None else {"updated_at": self.updated_at.isoformat()}
        flaps = {"flaps": self.flaps} if self.flaps else {}
        return {"since": self.since.isoformat(), "revision": self.revision, **raised, **known, **updated, **flaps}

    @property
    def sent_labels(self) -> dict[str, str]:
        """The labels that a sink sees: the identity and the severity."""
        return {**self.labels, "severity": self.severity.value}


class Step(NamedTuple):
    """An alert after an evaluation, and what came of it."""

    alert: Alert
    flips: tuple[Flip, ...]
    notices: tuple[Notice, ...]


def restore(
    labels: Mapping[str, str],
    state: str,
    detector: Mapping[str, str | int],
    starts_at: datetime | None,
    ends_at: datetime | None,
    annotations: Mapping[str, str],
) -> Alert:
    """An alert as its row holds it. ``labels`` are the sent ones, with the severity."""
    return Alert(
        labels={name: value for name, value in labels.items() if name != "severity"},
        since=datetime.fromisoformat(str(detector["since"])),
        state=State(state),
        severity=Severity(labels["severity"]),
        revision=int(detector["revision"]),
        starts_at=starts_at,
        ends_at=ends_at,
        raised_at=datetime.fromisoformat(str(detector["raised_at"])) if "raised_at" in detector else None,
        known=frozenset(str(detector["known"]).split(",")) if "known" in detector else frozenset(),
        updated_at=datetime.fromisoformat(str(detector["updated_at"])) if "updated_at" in detector else None,
        flaps=int(detector.get("flaps", 0)),
        annotations=annotations,
    )


def advance(alert: Alert, seen: Observation, now: datetime) -> Step:
    """One evaluation.

    Without data nothing changes, and the hold time of a recovery starts again.
    """
    if seen.condition is Condition.NO_DATA:
        return Step(replace(alert, since=now) if alert.state is State.RESOLVING else alert, (), ())
    if seen.condition is Condition.BREACH:
        return _keep_firing(alert, seen, now) if alert.active else _fire(alert, seen, now)
    if alert.active:
        return _recover(alert, seen, now)
    if seen.condition is Condition.SUSPECT and alert.state is not State.PENDING:
        return _turn(alert, State.PENDING, seen, now)
    if seen.condition is Condition.CLEAR and alert.state is State.PENDING:
        return _turn(alert, State.INACTIVE, seen, now)
    return Step(alert, (), ())


def _turn(alert: Alert, state: State, seen: Observation, now: datetime, *notices: Notice) -> Step:
    return Step(replace(alert, state=state, since=now), (Flip(now, alert.state, state, seen.reason),), notices)


def _fire(alert: Alert, seen: Observation, now: datetime) -> Step:
    again = alert.starts_at is not None and alert.ends_at is not None and now - alert.ends_at <= REFIRE
    if again:
        severity = max(alert.severity, seen.severity, key=_rank)
        fresh = replace(alert, revision=alert.revision + 1, ends_at=None, severity=severity, known=alert.known | seen.known)
    else:
        new_start = Alert(labels=alert.labels, since=now, state=alert.state, annotations=alert.annotations)
        fresh = replace(new_start, starts_at=now, severity=seen.severity, known=seen.known)
    flaps = alert.ends_at is not None and now - alert.ends_at <= FLAP
    fresh = replace(fresh, flaps=alert.flaps + 1 if flaps else 0)
    assert fresh.starts_at is not None
    return _turn(fresh, State.FIRING, seen, now, Notice("firing", fresh.starts_at, None, fresh.revision))


def _keep_firing(alert: Alert, seen: Observation, now: datetime) -> Step:
    """More is told where the alert rises, and where more is known of its cause."""
    assert alert.starts_at is not None
    rises = _rank(seen.severity) > _rank(alert.severity)
    grows = not seen.known <= alert.known and (alert.updated_at is None or now - alert.updated_at >= UPDATE_EVERY)
    if not rises and not grows:
        return _turn(alert, State.FIRING, seen, now) if alert.state is State.RESOLVING else Step(alert, (), ())
    told = replace(alert, revision=alert.revision + 1, known=alert.known | seen.known)
    told = replace(told, severity=seen.severity, raised_at=now) if rises else replace(told, updated_at=now)
    return _turn(told, State.FIRING, seen, now, Notice("firing", alert.starts_at, None, told.revision))


def _recover(alert: Alert, seen: Observation, now: datetime) -> Step:
    """A firing alert on which the evaluation sees no breach."""
    clear = seen.condition is Condition.CLEAR
    if alert.state is State.FIRING:
        return _turn(alert, State.RESOLVING, seen, now) if clear else Step(alert, (), ())
    if not clear:
        return _turn(alert, State.FIRING, seen, now)
    if now - alert.since < timedelta(seconds=seen.hold_seconds):
        return Step(alert, (), ())
    assert alert.starts_at is not None
    ended = replace(alert, ends_at=now)
    return _turn(ended, State.RESOLVED, seen, now, Notice("resolved", alert.starts_at, now, alert.revision))


def _rank(severity: Severity) -> int:
    return list(Severity).index(severity)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Prometheus' fingerprint of a label set: FNV-1a, 64 bits, over names and values in order of the names; 16 hex digits."""
    digest = 0xCBF29CE484222325
    for name in sorted(labels):
        for part in (name, labels[name]):
            for byte in (*part.encode(), 0xFF):
                digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"
