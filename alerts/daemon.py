"""The alerter: leads or stands by, evaluates once a second while it leads, and delivers beside that. Never gives up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

import aiohttp
import structlog
from psycopg import Error

from alerts.blind import Sight, watch_blindness
from alerts.deliver import Mailbox, run_delivery
from alerts.evaluate import Evaluator
from alerts.heartbeat import run_heartbeat, watchdog
from alerts.notify.alertmanager import AlertmanagerNotifier
from alerts.notify.dress import Dressed
from alerts.notify.notification import Notification, Notifier
from alerts.notify.pagerduty import PagerDutyNotifier
from alerts.notify.slack import SlackNotifier
from alerts.notify.webhook import WebhookNotifier
from alerts.slo import Slo, load_slos
from alerts.store.leader import Connection, Leadership
from alerts.store.outbox import release_claims
from collector import telemetry
from collector.clock import utc_now
from collector.config import Config
from collector.sink import Alertmanager, PagerDuty, Sink, Slack, Webhook
from collector.store.connection import Database
from collector.trace import tracer

EVALUATE_SECONDS = 1.0
"""Time from the start of one evaluation to the start of the next [s]."""
STANDBY_SECONDS = 0.5
"""How often one that stands by tries to lead [s]."""
_LONGEST_EVALUATION_SECONDS = 10.0
"""An evaluation that takes longer has lost its connection, whatever that says."""
_LONGEST_LOAD_SECONDS = 30.0
_LONGEST_ACQUIRE_SECONDS = 10.0
CLOCK_SET_SECONDS = 5.0
"""How far time and monotonic time may part between two evaluations; beyond that somebody has set the clock [s]."""
_HEALTHY = timedelta(seconds=10)
_AWAY_SECONDS = 10.0
"""An outage of Postgres after which the age of what it holds says nothing of those who write it."""

log = structlog.get_logger()


@dataclass(slots=True)
class Vitals:
    """How the alerter is, for /readyz: kept up to date by ``run``."""

    leading: bool = False
    evaluated_at: datetime | None = None
    """Last evaluation that was committed; ``None`` while it stands by."""
    postgres_ok: bool = False

    def healthy(self, now: datetime) -> bool:
        """Whether it leads, and evaluation works."""
        return self.leading and self.evaluated_at is not None and now - self.evaluated_at <= _HEALTHY


async def run(
    config: Config,
    database: Database,
    stop: asyncio.Event,
    *,
    vitals: Vitals | None = None,
    now: Callable[[], datetime] = utc_now,
) -> None:
    """Run until ``stop`` is set. ``database`` is open, and is used for delivery; leadership has a connection of its own.

    :raises ConfigError: at once, when the SLO file is wrong, or a secret of a sink cannot be read
    """
    slos = load_slos(config)
    if not config.sinks.names:
        log.warning("no sink is configured: alerts are recorded, and nobody is told")
    mailbox, vitals, sight, began = Mailbox(), vitals or Vitals(), Sight(monotonic()), now()

    def standing() -> Sequence[Notification]:
        return [watchdog(config, began)] if config.alerts.watchdog and vitals.healthy(now()) else []

    async with aiohttp.ClientSession() as session:
        notifiers = notifiers_of(config, session, now)
        async with asyncio.TaskGroup() as tasks:
            for notifier in notifiers:
                tasks.create_task(run_delivery(database, notifier, mailbox, stop, now, standing=standing))
            tasks.create_task(watch_blindness(sight, config, notifiers, stop, now, socket.gethostname()))
            if config.sinks.heartbeat_url is not None:
                tasks.create_task(run_heartbeat(config.sinks.heartbeat_url, session, lambda: vitals.healthy(now()), stop))
            tasks.create_task(_Leader(config, slos, database, mailbox, vitals, sight, now).run(stop))


def notifiers_of(config: Config, session: aiohttp.ClientSession, now: Callable[[], datetime] = utc_now) -> list[Notifier]:
    """A notifier for each sink.

    :raises ConfigError: naming the key, where a secret of a sink cannot be read
    """
    return [Dressed(_notifier(sink, config, session, now), sink, config) for sink in config.sinks.all]


def _notifier(sink: Sink, config: Config, session: aiohttp.ClientSession, now: Callable[[], datetime]) -> Notifier:
    url = config.board_url or f"http://{config.listen.alerter}"
    page, ticket = config.alerts.page_severity, config.alerts.ticket_severity
    match sink:
        case Webhook():
            return WebhookNotifier(sink, session, url=url)
        case Alertmanager():
            return AlertmanagerNotifier(sink, session, url=url, now=now, ticket=ticket)
        case Slack():
            return SlackNotifier(sink, session, ticket=ticket)
        case PagerDuty():
            # Where both are called the same, none may be taken for less than a page.
            words = {ticket: sink.ticket_severity, page: sink.page_severity}
            return PagerDutyNotifier(sink, session, url=url, severities=words)


class _Leader:
    """One process's attempts to lead."""

    def __init__(
        self,
        config: Config,
        slos: Sequence[Slo],
        database: Database,
        mailbox: Mailbox,
        vitals: Vitals,
        sight: Sight,
        now: Callable[[], datetime],
    ) -> None:
        self._config, self._slos, self._mailbox, self._vitals, self._now = config, slos, mailbox, vitals, now
        self._sight = sight
        self._leadership = Leadership(database.conninfo, application="llm-slo alerter")
        self._watching_since = now()
        self._ahead_seconds = _ahead_seconds(now())

    async def run(self, stop: asyncio.Event) -> None:
        """Lead or stand by until stopped."""
        try:
            await self._attempt(stop)
        finally:
            await self._step_down()

    async def _attempt(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with asyncio.timeout(_LONGEST_ACQUIRE_SECONDS):
                    connection = await self._leadership.acquire()
                self._vitals.postgres_ok = True
                if monotonic() - self._sight.answered > _AWAY_SECONDS:
                    # Collectors could not say that they live either, nor keep a scrape: they get the time that a start gives.
                    self._watching_since = self._now()
                if connection is None:
                    self._sight.answered = monotonic()
                else:
                    await self._lead(connection, stop)
            except (Error, OSError, TimeoutError) as error:
                self._vitals.postgres_ok = False
                self._sight.failed, self._sight.cause = monotonic(), "postgres"
                log.warning("evaluation stopped: no Postgres", error=type(error).__name__, leading=self._vitals.leading)
                await self._step_down()
            except Exception:
                telemetry.LOOP_ERRORS.labels("evaluate").inc()
                self._sight.failed, self._sight.cause = monotonic(), "evaluation"
                log.exception("evaluation failed")
                await self._step_down()
            await _pause(stop, STANDBY_SECONDS)

    async def _lead(self, connection: Connection, stop: asyncio.Event) -> None:
        """Evaluate until stopped, or until something goes wrong: then everything is read anew by whoever leads next."""
        self._clock_was_set()
        evaluator = Evaluator(self._config, self._slos, connection, self._now(), watching_since=self._watching_since)
        async with asyncio.timeout(_LONGEST_LOAD_SECONDS):
            await evaluator.load(self._now())
            await release_claims(connection, self._now())
        log.info("this alerter leads", alerts=sum(alert.active for alert in evaluator.alerts))
        self._set_leading(True)
        self._mailbox.ring()
        while not stop.is_set():
            if self._clock_was_set():
                return
            start = monotonic()
            async with asyncio.timeout(_LONGEST_EVALUATION_SECONDS):
                with tracer.start_as_current_span("evaluate"):
                    told = await evaluator.tick(self._now())
            self._vitals.evaluated_at, self._sight.answered = self._now(), monotonic()
            if told:
                self._mailbox.ring()
            await _pause(stop, max(0.0, EVALUATE_SECONDS - (monotonic() - start)))

    def _clock_was_set(self) -> bool:
        """Whether somebody has set the clock since this was last asked.

        Then seconds that were counted are others, what waits for a time may wait for long, and signs of life look old.
        """
        before, self._ahead_seconds = self._ahead_seconds, _ahead_seconds(self._now())
        moved_seconds = self._ahead_seconds - before
        if abs(moved_seconds) <= CLOCK_SET_SECONDS:
            return False
        log.warning("the clock was set: everything is read anew", seconds=round(moved_seconds, 1))
        self._watching_since = self._now()
        return True

    async def _step_down(self) -> None:
        self._set_leading(False)
        self._vitals.evaluated_at = None
        await self._leadership.release()

    def _set_leading(self, leading: bool) -> None:
        self._vitals.leading = self._mailbox.leading = leading
        telemetry.ALERTER_LEADER.set(leading)


def _ahead_seconds(now: datetime) -> float:
    """By how much the time is ahead of monotonic time [s]: it changes only where the clock is set."""
    return now.timestamp() - monotonic()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
