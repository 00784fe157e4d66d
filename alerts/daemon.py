"""The alerter: leads or stands by, evaluates once a second while it leads, and delivers beside that. Never gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import aiohttp
import structlog
from psycopg import Error

from alerts.deliver import Mailbox, run_delivery
from alerts.evaluate import Evaluator
from alerts.notify.webhook import WebhookNotifier
from alerts.slo import Slo, load_slos
from alerts.store.leader import Connection, Leadership
from collector import telemetry
from collector.config import Config
from collector.store.connection import Database

EVALUATE_SECONDS = 1.0
"""Time from the start of one evaluation to the start of the next [s]."""
STANDBY_SECONDS = 1.0
"""How often one that stands by tries to lead [s]."""
_LONGEST_EVALUATION_SECONDS = 10.0
"""An evaluation that takes longer has lost its connection, whatever that says."""
_LONGEST_LOAD_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(slots=True)
class Vitals:
    """How the alerter is, for /readyz: kept up to date by ``run``."""

    leading: bool = False
    evaluated_at: datetime | None = None
    """Last evaluation that was committed; ``None`` while it stands by."""
    postgres_ok: bool = False


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def run(
    config: Config,
    database: Database,
    stop: asyncio.Event,
    *,
    vitals: Vitals | None = None,
    now: Callable[[], datetime] = _utc_now,
) -> None:
    """Run until ``stop`` is set. ``database`` is open, and is used for delivery; leadership has a connection of its own.

    :raises ConfigError: at once, when the SLO file is wrong
    """
    slos = load_slos(config)
    if not config.sinks.webhooks:
        log.warning("no sink is configured: alerts are recorded, and nobody is told")
    mailbox = Mailbox()
    url = config.board_url or f"http://{config.listen.alerter}"
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        for webhook in config.sinks.webhooks:
            notifier = WebhookNotifier(webhook, session, url=url)
            tasks.create_task(run_delivery(database, notifier, mailbox, stop, now))
        tasks.create_task(_Leader(config, slos, database, mailbox, vitals or Vitals(), now).run(stop))


class _Leader:
    """One process's attempts to lead."""

    def __init__(
        self,
        config: Config,
        slos: Sequence[Slo],
        database: Database,
        mailbox: Mailbox,
        vitals: Vitals,
        now: Callable[[], datetime],
    ) -> None:
        self._config, self._slos, self._mailbox, self._vitals, self._now = config, slos, mailbox, vitals, now
        self._leadership = Leadership(database.conninfo, application="llm-slo alerter")
        self._watching_since = now()

    async def run(self, stop: asyncio.Event) -> None:
        """Lead or stand by until stopped."""
        try:
            await self._attempt(stop)
        finally:
            await self._step_down()

    async def _attempt(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                connection = await self._leadership.acquire()
                self._vitals.postgres_ok = True
                if connection is not None:
                    await self._lead(connection, stop)
            except (Error, OSError, TimeoutError) as error:
                self._vitals.postgres_ok = False
                log.warning("evaluation stopped: no Postgres", error=type(error).__name__, leading=self._vitals.leading)
                await self._step_down()
            except Exception:
                telemetry.LOOP_ERRORS.labels("evaluate").inc()
                log.exception("evaluation failed")
                await self._step_down()
            await _pause(stop, STANDBY_SECONDS)

    async def _lead(self, connection: Connection, stop: asyncio.Event) -> None:
        """Evaluate until stopped, or until something goes wrong: then everything is read anew by whoever leads next."""
        evaluator = Evaluator(self._config, self._slos, connection, self._now(), watching_since=self._watching_since)
        async with asyncio.timeout(_LONGEST_LOAD_SECONDS):
            await evaluator.load(self._now())
        log.info("this alerter leads", alerts=sum(alert.active for alert in evaluator.alerts))
        self._set_leading(True)
        self._mailbox.ring()
        while not stop.is_set():
            start = monotonic()
            async with asyncio.timeout(_LONGEST_EVALUATION_SECONDS):
                told = await evaluator.tick(self._now())
            self._vitals.evaluated_at = self._now()
            if told:
                self._mailbox.ring()
            await _pause(stop, max(0.0, EVALUATE_SECONDS - (monotonic() - start)))

    async def _step_down(self) -> None:
        self._set_leading(False)
        self._vitals.evaluated_at = None
        await self._leadership.release()

    def _set_leading(self, leading: bool) -> None:
        self._vitals.leading = self._mailbox.leading = leading
        telemetry.ALERTER_LEADER.set(leading)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
