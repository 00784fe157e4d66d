"""Symptoms: faults that are raised without a budget. Pure: the fleet as it was read, and a time, in; findings out.

A symptom pages when users are hurt, or when fewer replicas of the model serve than its ``min_ready``; else it is a ticket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from alerts.alert import Condition, Observation, Severity
from alerts.burn import Tally
from collector.config import Config, Target
from collector.sample import Health

HOLD_SECONDS = 10.0
"""How long a symptom must be gone before its alert is resolved [s]."""
FAILED_CHECKS_RATIO = 1.5
"""An engine is dead when its last good health check is this many intervals older than its last one: two failed in a row, so
that one lost packet pages nobody. At the default interval of 5 s that is 5 to 10 s after the death."""
START = timedelta(minutes=15)
"""How long an engine may take to become ready: loading a large model takes minutes. Not granted while users are hurt."""
BLIND = timedelta(seconds=30)
"""Without a sign of life of any collector for so long, nothing that is known is current."""
STALE = timedelta(seconds=60)
"""Least age of a replica's last scrape at which its data counts as missing; three scrape intervals where that is longer."""
FORGOTTEN = timedelta(hours=1)
"""A replica that nobody has checked for so long, while collectors live, is no longer a target."""
FROZEN = timedelta(seconds=60)
"""How long all gauges must stand still while requests are said to run."""
NO_SPANS_REQUESTS = 10
"""Requests that engines finished without one gateway span, from which on spans are taken to be lost."""


_UNLISTED = Target(url="http://unlisted")


class ReplicaState(NamedTuple):
    """How a replica is now, as the collector keeps it. Ages are told from these times, never from the time of the read."""

    replica: str
    model: str
    environment: str
    cluster: str
    health: Health
    health_status: int | None
    health_since: datetime
    checked_at: datetime
    ready_at: datetime | None
    scraped_at: datetime | None
    gauges_frozen_since: datetime | None
    zombie: bool


class Fleet(NamedTuple):
    """What symptoms are found in."""

    replicas: Sequence[ReplicaState]
    collector_seen_at: datetime | None
    """Last sign of life of any collector; ``None`` when there never was one."""
    collector_started_at: datetime | None
    """Start of the collector that started last."""
    finished_requests: float
    """Requests that engines finished in the last 5 minutes, by their own counters."""
    spans_recent: bool
    """Whether a row of the primary observer came in the last 5 minutes."""
    spans_before: bool
    """Whether one came in the day before."""


class Text(NamedTuple):
    """What a page says: one line, then some more, and since when it has been so."""

    summary: str
    facts: tuple[str, ...]
    since: datetime


class Finding(NamedTuple):
    """What an evaluation sees of one symptom, and what a page says about it."""

    labels: Mapping[str, str]
    observation: Observation
    text: Text


class Harm(NamedTuple):
    """Requests of one model in the last 5 minutes, and whether they say that users are hurt."""

    tally: Tally
    hurt: bool


class Symptoms(NamedTuple):
    """What was found. While ``blind`` nothing is known of any replica, and nothing about one may change."""

    findings: tuple[Finding, ...]
    blind: bool


def find_symptoms(fleet: Fleet, harm: Mapping[str, Harm], config: Config, watching_since: datetime, now: datetime) -> Symptoms:
    """Every symptom that is there or suspected. ``harm`` goes by model; ``watching_since`` is when this alerter began."""
    blind = _blind(fleet, config, watching_since, now)
    if blind is not None:
        return Symptoms((blind,), True)
    view = _View(fleet, harm, config, watching_since, now)
    found = [
        finding
        for state in fleet.replicas
        if now - state.checked_at < FORGOTTEN
        for finding in (view.dead(state) or view.frozen(state) or view.no_data(state),)
        if finding is not None
    ]
    no_spans = view.no_spans()
    return Symptoms((*found, *([no_spans] if no_spans else ())), False)


def _blind(fleet: Fleet, config: Config, watching_since: datetime, now: datetime) -> Finding | None:
    """No collector lives. Harm cannot be known then, so this pages."""
    if fleet.collector_seen_at is None:
        return None
    seen_at = fleet.collector_seen_at
    # An alerter that has just started must give a collector that starts with it the time to say so.
    if now - max(seen_at, watching_since) <= BLIND:
        return None
    labels = {"alertname": "MonitoringBlind", "cluster": config.cluster, "environment": config.environment}
    reason = f"no collector has given a sign of life since {clock(seen_at)}"
    facts = (
        f"No collector has given a sign of life since {clock(seen_at)}: no span is taken, no engine is scraped.",
        "Alerts that depend on data stand still until it is back. Users may be hurt without an alert.",
    )
    return Finding(
        labels,
        Observation(Condition.BREACH, reason, Severity.PAGE, HOLD_SECONDS),
        Text(f"Monitoring is blind: no collector since {clock(seen_at)}", facts, seen_at),
    )


class _View:
    """One reading of the fleet at one time."""

    def __init__(self, fleet: Fleet, harm: Mapping[str, Harm], config: Config, watching_since: datetime, now: datetime) -> None:
        self._fleet, self._harm, self._config, self._watching_since, self._now = fleet, harm, config, watching_since, now
        self._targets = {target.replica_name: target for target in config.targets}

    def dead(self, state: ReplicaState) -> Finding | None:
        if state.health not in (Health.FAILING, Health.UNREACHABLE):
            return None
        started = self._fleet.collector_started_at
        known_ready = state.ready_at is not None and (started is None or state.ready_at >= started)
        since = state.ready_at if known_ready and state.ready_at is not None else state.health_since
        how = _health(state)
        if not known_ready and self._now - since < START and not self._hurt(state.model):
            # It may still be starting. An alert that fires already is left alone.
            return self._finding("EngineDead", state, Condition.UNSURE, f"{how}; it may still be starting", since, "", ())
        interval = self._target(state).health_seconds
        confirmed = not known_ready or (state.checked_at - since).total_seconds() >= FAILED_CHECKS_RATIO * interval
        what = "engine dead" if known_ready else "engine not ready"
        facts = [f"Replica {state.replica} of {state.model} has not been ready since {clock(since)}: {how}."]
        if state.zombie:
            facts.append("It is a zombie: the engine is gone, and /metrics still answers with gauges that look idle.")
        if not known_ready:
            facts.append("It has not become ready since the collector started to watch it.")
        condition = Condition.BREACH if confirmed else Condition.SUSPECT
        return self._finding("EngineDead", state, condition, f"not ready since {clock(since)}: {how}", since, what, facts)

    def frozen(self, state: ReplicaState) -> Finding | None:
        since = state.gauges_frozen_since
        if since is None or self._now - since < FROZEN:
            return None
        facts = (
            f"All gauges of {state.replica} ({state.model}) stand still since {clock(since)} while requests are said to run.",
            "Its health check still says ready: the engine hangs, or /metrics serves old values.",
        )
        reason = f"gauges stand still since {clock(since)} while requests are said to run"
        return self._finding("FrozenGauges", state, Condition.BREACH, reason, since, "gauges frozen", facts)

    def no_data(self, state: ReplicaState) -> Finding | None:
        since = state.scraped_at or state.health_since
        limit = max(STALE, timedelta(seconds=3 * self._target(state).scrape_seconds))
        if self._now - max(since, self._watching_since) <= limit:
            return None
        facts = (
            f"No scrape of {state.replica} ({state.model}) has succeeded since {clock(since)}.",
            f"Its last health check, at {clock(state.checked_at)}, said {_health(state)}.",
        )
        return self._finding(
            "NoData", state, Condition.BREACH, f"no scrape has succeeded since {clock(since)}", since, "no metrics", facts
        )

    def no_spans(self) -> Finding | None:
        fleet = self._fleet
        lost = fleet.finished_requests >= NO_SPANS_REQUESTS and not fleet.spans_recent and fleet.spans_before
        if not lost:
            return None
        labels = {"alertname": "NoSpans", "cluster": self._config.cluster, "environment": self._config.environment}
        observer = self._config.primary_observer
        reason = f"engines finished {fleet.finished_requests:.0f} requests in 5 minutes and no {observer} span came"
        facts = (
            f"Engines finished {fleet.finished_requests:.0f} requests in the last 5 minutes, and no {observer} span came.",
            "SLOs see none of this traffic: look at the exporter of the gateway and at refused OTLP bodies.",
        )
        return Finding(
            labels,
            Observation(Condition.BREACH, reason, Severity.TICKET, HOLD_SECONDS),
            Text(f"No {observer} spans for 5 minutes while engines serve requests", facts, self._now - timedelta(minutes=5)),
        )

    def _finding(
        self,
        name: str,
        state: ReplicaState,
        condition: Condition,
        reason: str,
        since: datetime,
        what: str,
        facts: Sequence[str],
    ) -> Finding:
        peers = list(self._peers(state))
        ready, wanted = sum(map(self._serves, peers)), self._config.min_ready(state.model)
        hurt = self._hurt(state.model)
        severity = Severity.PAGE if hurt or ready < wanted else Severity.TICKET
        tally = self._harm[state.model].tally if state.model in self._harm else Tally(0, 0)
        labels = {
            "alertname": name,
            "model": state.model,
            "replica": state.replica,
            "cluster": state.cluster,
            "environment": state.environment,
        }
        failed = f", {tally.bad} of {tally.good + tally.bad} requests failed in 5 min" if tally.bad else ""
        why = f"; users are hurt: {tally.bad} requests failed in 5 minutes" if hurt else ""
        return Finding(
            labels,
            Observation(condition, f"{reason}{why}; {ready} of {len(peers)} replicas serve", severity, HOLD_SECONDS),
            Text(
                f"{state.model} on {state.replica}: {what} since {clock(since)}, {ready}/{len(peers)} ready{failed}",
                (*facts, f"Ready replicas of {state.model}: {ready} of {len(peers)} (min_ready {wanted})."),
                since,
            ),
        )

    def _peers(self, state: ReplicaState) -> Iterator[ReplicaState]:
        """The known replicas of the same model in the same place."""
        place = (state.model, state.environment, state.cluster)
        for other in self._fleet.replicas:
            if (other.model, other.environment, other.cluster) == place and self._now - other.checked_at < FORGOTTEN:
                yield other

    def _serves(self, state: ReplicaState) -> bool:
        frozen = state.gauges_frozen_since is not None and self._now - state.gauges_frozen_since >= FROZEN
        limit = max(STALE, timedelta(seconds=3 * self._target(state).health_seconds))
        return state.health is Health.READY and not frozen and self._now - state.checked_at <= limit

    def _target(self, state: ReplicaState) -> Target:
        """What the configuration says about a replica; its defaults where another collector watches it."""
        return self._targets.get(state.replica, _UNLISTED)

    def _hurt(self, model: str) -> bool:
        return model in self._harm and self._harm[model].hurt


def _health(state: ReplicaState) -> str:
    if state.health is Health.FAILING:
        return f"its health check answers {state.health_status}" if state.health_status else "its health check fails"
    return "its health check gets no answer" if state.health is Health.UNREACHABLE else state.health.name.lower()


def clock(time: datetime) -> str:
    """A time as a page writes it: ``03:12:07 UTC``."""
    return f"{time:%H:%M:%S} UTC"
