"""Symptoms: faults that are raised without a budget. Pure: the fleet as it was read, and a time, in; findings out.

A symptom pages when users are hurt, or when fewer replicas of the model serve than its ``min_ready``; else it is a ticket.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from alerts.alert import Alert, Condition, Observation, Severity
from alerts.finding import HOLD_SECONDS, Finding, Harm, Symptoms, Text, clock
from alerts.fleet import Fleet, ReplicaState
from alerts.outage import dead, find_troubles, out_of_memory, out_of_memory_elsewhere, restarted
from alerts.view import FROZEN, STALE, View, health
from collector.config import Config
from collector.sample import Health

BLIND = timedelta(seconds=30)
"""Without a sign of life of any collector for so long, nothing that is known is current."""
NO_SPANS_REQUESTS = 10
"""Requests that engines finished without one gateway span, from which on spans are taken to be lost."""
_NO_ALERTS: Mapping[str, Alert] = MappingProxyType({})


def find_symptoms(
    fleet: Fleet,
    harm: Mapping[str, Harm],
    config: Config,
    watching_since: datetime,
    now: datetime,
    alerts: Mapping[str, Alert] = _NO_ALERTS,
) -> Symptoms:
    """Every symptom that is there or suspected; of one replica the gravest.

    :param harm: by model
    :param watching_since: when this alerter began
    :param alerts: those that are known, by fingerprint: of one death only one is told
    """
    blind = _blind(fleet, config, watching_since, now)
    if blind is not None:
        return Symptoms((blind,), True)
    view = View(fleet, harm, config, watching_since, now, alerts)
    troubles = find_troubles(view)
    ooms = {place.replica: oom for place, oom in troubles.items() if place.is_target}
    found = []
    for state in view.replicas:
        oom = ooms.get(state.replica)
        finding = (
            out_of_memory(view, state, oom)
            or dead(view, state)
            or restarted(view, state, oom)
            or _frozen(view, state)
            or _canary_failed(view, state)
            or _no_data(view, state)
        )
        found += [] if finding is None else [finding]
    no_spans = _no_spans(view)
    return Symptoms((*found, *out_of_memory_elsewhere(view, troubles), *([no_spans] if no_spans else ())), False)


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


def _frozen(view: View, state: ReplicaState) -> Finding | None:
    since = state.gauges_frozen_since
    if since is None or view.now - since < FROZEN:
        return None
    facts = (
        f"All gauges of {state.replica} ({state.model}) stand still since {clock(since)} while requests are said to run.",
        "Its health check still says ready: the engine hangs, or /metrics serves old values.",
    )
    reason = f"gauges stand still since {clock(since)} while requests are said to run"
    return view.finding("FrozenGauges", state, Condition.BREACH, reason, since, "gauges frozen", facts)


def _canary_failed(view: View, state: ReplicaState) -> Finding | None:
    """Calls of our own fail while the engine's health check says ready."""
    failing = view.failing_canary(state)
    if not failing or state.health is not Health.READY:
        return None
    since, outcome = failing[0].at, failing[-1].detail.get("outcome", "unknown").replace("_", " ")
    facts = (
        f"One-token calls of {state.replica} ({state.model}) have failed since {clock(since)}: {outcome}.",
        "Its health check still says ready: the engine stalls, or refuses work.",
    )
    reason = f"one-token calls have failed since {clock(since)} ({outcome})"
    return view.finding("CanaryFailed", state, Condition.BREACH, reason, since, f"canary failed ({outcome})", facts)


def _no_data(view: View, state: ReplicaState) -> Finding | None:
    since = state.scraped_at or state.health_since
    limit = max(STALE, timedelta(seconds=3 * view.target(state).scrape_seconds))
    if view.now - max(since, view.watching_since) <= limit:
        return None
    facts = (
        f"No scrape of {state.replica} ({state.model}) has succeeded since {clock(since)}.",
        f"Its last health check, at {clock(state.checked_at)}, said {health(state)}.",
    )
    reason = f"no scrape has succeeded since {clock(since)}"
    return view.finding("NoData", state, Condition.BREACH, reason, since, "no metrics", facts)


def _no_spans(view: View) -> Finding | None:
    fleet = view.fleet
    lost = fleet.finished_requests >= NO_SPANS_REQUESTS and not fleet.spans_recent and fleet.spans_before
    if not lost:
        return None
    labels = {"alertname": "NoSpans", "cluster": view.config.cluster, "environment": view.config.environment}
    observer = view.config.primary_observer
    reason = f"engines finished {fleet.finished_requests:.0f} requests in 5 minutes and no {observer} span came"
    facts = (
        f"Engines finished {fleet.finished_requests:.0f} requests in the last 5 minutes, and no {observer} span came.",
        "SLOs see none of this traffic: look at the exporter of the gateway and at refused OTLP bodies.",
    )
    return Finding(
        labels,
        Observation(Condition.BREACH, reason, Severity.TICKET, HOLD_SECONDS),
        Text(f"No {observer} spans for 5 minutes while engines serve requests", facts, view.now - timedelta(minutes=5)),
    )
