"""Evaluation: once a second, read what is new, judge every alert, write what changed in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import perf_counter
from typing import NamedTuple

import structlog
from psycopg.errors import QueryCanceled

from alerts.alert import Alert, Condition, Observation, Severity, State, Step, advance
from alerts.describe import About, describe
from alerts.finding import HOLD_SECONDS, Finding, Symptoms
from alerts.sink import Trouble, find_failing_sinks
from alerts.slo import Slo
from alerts.slow import Ranking
from alerts.store.alert import read_alerts, write_steps
from alerts.store.fleet import Traffic, read_fleet, read_traffic
from alerts.store.leader import Connection
from alerts.store.outbox import read_troubles
from alerts.store.pulse import PulseReader, read_past, read_streams
from alerts.store.slow import SETTLED, read_ranks
from alerts.symptoms import find_symptoms
from alerts.watch import Pulse, Series, Watch
from collector import telemetry
from collector.config import Config

PERIOD_EVERY = timedelta(minutes=10)
"""How often the sums of whole periods are read again. What is counted in between is added; what leaves the period in between
is at most 10 minutes of 30 days."""
TRAFFIC_EVERY = timedelta(seconds=15)
STORIES_SECONDS = 1.0
"""What reading for the texts of pages may take of one evaluation [s]: where many fire at once, the last ones go with less."""
RANKS_EVERY = timedelta(seconds=10)

log = structlog.get_logger()


class _Seen(NamedTuple):
    """What an evaluation sees of one alert, and what a page would be made from."""

    labels: Mapping[str, str]
    observation: Observation
    subject: Series | Finding | None


class Evaluator:
    """The state of one leadership: it is loaded when leadership begins, and thrown away when it ends."""

    def __init__(
        self, config: Config, slos: Sequence[Slo], connection: Connection, now: datetime, *, watching_since: datetime
    ) -> None:
        self._config = config
        self._slos = slos
        self._sinks = config.sinks.all
        self.connection = connection
        self._watching_since = watching_since
        self.watch = Watch(slos, config, _second(now))
        self._reader = PulseReader()
        self._alerts: dict[str, Alert] = {}
        self._period_at: datetime | None = None
        self._traffic_at: datetime | None = None
        self._ranking = Ranking(config)
        self._ranked_at = now - SETTLED
        self._traffic = Traffic(0.0, True, False)
        self._troubles: Sequence[Trouble] = ()
        self._stories_until = 0.0

    @property
    def alerts(self) -> Sequence[Alert]:
        """Every alert that was ever seen, as it is now."""
        return list(self._alerts.values())

    async def load(self, now: datetime) -> None:
        """Take over: streams, verdicts of the last 6 h, and the state of all alerts."""
        async with self.connection.transaction():
            await self._read_streams()
            self.watch.advance(_second(now))
            self.watch.count(await self._reader.read_history(self.connection, now))
            self._alerts = {alert.fingerprint: alert for alert in await read_alerts(self.connection)}

    async def tick(self, now: datetime) -> bool:
        """One evaluation at a time. Returns whether something was put into the outbox.

        :raises psycopg.Error: when Postgres did not commit; this evaluator is then of no more use, since verdicts that were
            read may not have been counted
        """
        start = perf_counter()
        async with self.connection.transaction():
            await self._read_pulses(now)
            symptoms = await self._read_symptoms(now)
            await self._read_ranks(now)
            changed = self._judge(symptoms, now)
            self._stories_until = perf_counter() + STORIES_SECONDS
            steps = [await self._describe(step, seen, now) for step, seen in changed]
            await write_steps(self.connection, steps, self._sinks, now)
        for step in steps:
            self._alerts[step.alert.fingerprint] = step.alert
        self._report(steps, now)
        telemetry.ALERT_EVALUATION_SECONDS.observe(perf_counter() - start)
        return any(step.notices for step in steps)

    async def _read_streams(self) -> None:
        self.watch.set_streams(await read_streams(self.connection, sorted({slo.objective.id for slo in self._slos})))

    async def _read_pulses(self, now: datetime) -> None:
        pulses: list[Pulse] = await self._reader.read_new(self.connection, now)
        if any(not self.watch.knows(pulse.stream) for pulse in pulses):
            await self._read_streams()
        self.watch.count(pulses)
        self.watch.advance(_second(now))
        if self._period_at is None or now - self._period_at >= PERIOD_EVERY:
            await self._read_periods(now)
            self._period_at = now

    async def _read_periods(self, now: datetime) -> None:
        """What minutes say. Pages do without where that takes too long: the windows that they go by are in memory."""
        try:
            async with self.connection.transaction():
                streams = {series.stream.id for series in self.watch.series}
                periods = {slo.period_days for slo in self._slos}
                self.watch.set_past(await read_past(self.connection, streams, periods, now))
        except QueryCanceled:
            log.warning("the periods' verdicts could not be read in time")

    async def _read_symptoms(self, now: datetime) -> Symptoms:
        if self._traffic_at is None or now - self._traffic_at >= TRAFFIC_EVERY:
            self._traffic = await read_traffic(self.connection, self._config.primary_observed_by, now)
            self._troubles = await read_troubles(self.connection, now)
            self._traffic_at = now
        fleet = await read_fleet(self.connection, self._traffic, now)
        found = find_symptoms(fleet, self.watch.harm(), self._config, self._watching_since, now, self._alerts)
        return found._replace(findings=(*found.findings, *find_failing_sinks(self._troubles, self._config, now)))

    async def _read_ranks(self, now: datetime) -> None:
        """How replicas compare with their peers. A read that takes too long leaves its seconds out."""
        until = now - SETTLED
        if until - self._ranked_at < RANKS_EVERY:
            return
        since, self._ranked_at = self._ranked_at, until
        try:
            async with self.connection.transaction():
                ranks = await read_ranks(self.connection, self._config.primary_observed_by, since, until)
        except QueryCanceled:
            log.warning("replicas could not be compared in time")
        else:
            self._ranking.count(ranks, self._alerts, now)

    def _judge(self, symptoms: Symptoms, now: datetime) -> list[tuple[Step, _Seen]]:
        """Every alert that this evaluation changes."""
        changed = []
        for fingerprint, seen in self._observe(symptoms, now).items():
            alert = self._alerts.get(fingerprint) or Alert(labels=seen.labels, since=now)
            step = advance(alert, seen.observation, now)
            if step.alert != alert:
                changed.append((step, seen))
        return changed

    def _observe(self, symptoms: Symptoms, now: datetime) -> dict[str, _Seen]:
        """By fingerprint: what is seen of each alert that there is or might be."""
        found: dict[str, _Seen] = {}
        for series in self.watch.series:
            alert = self._alerts.get(series.fingerprint)
            observation = self.watch.observe(series, alert, blind=symptoms.blind)
            if observation.condition is not Condition.CLEAR or alert is not None:
                found[series.fingerprint] = _Seen(series.labels, observation, series)
        for series in self.watch.tickets:
            alert = self._alerts.get(series.fingerprint)
            page = self._alerts.get(series.page)
            paged = page is not None and page.active
            observation = self.watch.observe_ticket(series, alert, blind=symptoms.blind, paged=paged)
            if observation.condition is Condition.BREACH or alert is not None:
                found[series.fingerprint] = _Seen(series.labels, observation, series)
        slow = () if symptoms.blind else self._ranking.findings(self._alerts)
        for finding in (*symptoms.findings, *slow):
            found[Alert(labels=finding.labels, since=now).fingerprint] = _Seen(finding.labels, finding.observation, finding)
        for fingerprint, alert in self._alerts.items():
            if fingerprint not in found and alert.state not in (State.INACTIVE, State.RESOLVED):
                found[fingerprint] = _Seen(alert.labels, _gone(alert, symptoms.blind), None)
        return found

    async def _describe(self, step: Step, seen: _Seen, now: datetime) -> Step:
        """The step with the text of its page, where one is to be told. A "resolved" keeps the text of its page."""
        firing = [notice for notice in step.notices if notice.status == "firing"]
        if not firing or seen.subject is None:
            return step
        subject, labels = seen.subject, seen.labels
        series = subject if isinstance(subject, Series) else None
        text = self.watch.text(series, now) if series else subject.text if isinstance(subject, Finding) else None
        assert text is not None
        about = About(labels, series.model if series else labels.get("model"), text)
        if series:
            slo, exhausted = series.slo, self.watch.exhaustion(series)
            about = about._replace(objective=slo.objective, exhausted=exhausted, runbook_url=slo.runbook_url, advice=slo.advice)
        annotations = await describe(self.connection, self._config, about, now, story=perf_counter() < self._stories_until)
        if series:
            annotations |= {name: f"{burn:.2f}" for name, burn in self.watch.burns(series).items()}
            annotations["budget_spent"] = f"{self.watch.spent(series):.4f}"
        return step._replace(alert=replace(step.alert, annotations=annotations))

    def _report(self, steps: Sequence[Step], now: datetime) -> None:
        newest = self._reader.newest_received_at
        if newest is not None:
            telemetry.ALERT_LAG_SECONDS.set(max(0.0, (now - newest).total_seconds()))
        for severity in Severity:
            active = sum(alert.active and alert.severity is severity for alert in self._alerts.values())
            telemetry.ALERTS_FIRING.labels(severity.value).set(active)
        for step in steps:
            for flip in step.flips:
                log.info(
                    f"alert {step.alert.name}: {flip.from_state.value} to {flip.to_state.value}",
                    reason=flip.reason,
                    severity=step.alert.severity.value,
                    **{name: value for name, value in step.alert.labels.items() if name in ("slo", "model", "replica")},
                )


def _gone(alert: Alert, blind: bool) -> Observation:
    """What is seen of an alert of which nothing is seen any more."""
    if blind:
        return Observation(Condition.NO_DATA, "no collector lives", alert.severity, HOLD_SECONDS)
    reason = "its SLO or stream is no longer watched" if alert.name in ("SLOBurn", "SLOSlowBurn") else "the condition is gone"
    return Observation(Condition.CLEAR, reason, alert.severity, HOLD_SECONDS)


def _second(now: datetime) -> int:
    return int(now.timestamp())
