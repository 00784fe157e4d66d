"""Delivery: what waits in the outbox goes to its sink.

One loop per sink, so that a slow one delays neither the others nor evaluation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from alerts.notify.notification import Answer, Delivered, Refused, grouped
from alerts.notify.webhook import WebhookNotifier
from alerts.store import outbox
from alerts.store.outbox import Claimed
from collector import telemetry
from collector.errors import StoreUnavailable
from collector.store.connection import Database

POLL_SECONDS = 1.0
"""How often the outbox is looked at when nobody says that something was put in [s]."""
_LONGEST_BACKOFF_SECONDS = 60.0
_LEASE_MARGIN = timedelta(seconds=10)

log = structlog.get_logger()


def backoff_seconds(attempts: int) -> float:
    """Time to the next attempt after so many failed ones: 1, 2, 4 … 60 s."""
    return min(_LONGEST_BACKOFF_SECONDS, 2.0 ** (min(attempts, 10) - 1))


async def deliver(database: Database, notifier: WebhookNotifier, now: Callable[[], datetime]) -> int:
    """Deliver what is due for one sink, once. Returns how many notifications were tried.

    :raises StoreUnavailable: when Postgres did not commit; what was sent and not marked is sent again
    """
    lease = timedelta(seconds=notifier.timeout_seconds) + _LEASE_MARGIN
    claimed = await outbox.claim(database, notifier.name, now(), lease)
    by_notification = {id(one.notification): one for one in claimed}
    groups = grouped([one.notification for one in claimed])
    answers = await asyncio.gather(*(notifier.send(group) for group in groups))
    for group, answer in zip(groups, answers, strict=True):
        await _settle(database, notifier.name, [by_notification[id(one)] for one in group], answer, now())
    return len(claimed)


async def _settle(database: Database, sink: str, group: Sequence[Claimed], answer: Answer, now: datetime) -> None:
    ids = [one.id for one in group]
    result = type(answer).__name__.lower()
    telemetry.NOTIFICATIONS.labels(sink, result).inc(len(group))
    if isinstance(answer, Delivered):
        await outbox.settle_delivered(database, ids, now)
        log.info("told a sink", sink=sink, alerts=len(group), status=group[0].notification.status)
    elif isinstance(answer, Refused):
        await outbox.settle_failed(database, ids, answer.error, now)
        log.error("a sink refuses a notification", sink=sink, alerts=len(group), error=answer.error)
    else:
        for one in group:
            wait = max(backoff_seconds(one.attempts), min(answer.after_seconds or 0.0, _LONGEST_BACKOFF_SECONDS))
            await outbox.settle_retry(database, one.id, answer.error, now + timedelta(seconds=wait))
        log.warning("a sink could not be told", sink=sink, alerts=len(group), error=answer.error, attempts=group[0].attempts)


class Mailbox:
    """Says when there is something to deliver, and whether this process is the one that does."""

    def __init__(self) -> None:
        self.leading = False
        self._wake: list[asyncio.Event] = []

    def subscribe(self) -> asyncio.Event:
        """An event that is set when something was put into the outbox."""
        event = asyncio.Event()
        self._wake.append(event)
        return event

    def ring(self) -> None:
        """Something was put into the outbox."""
        for event in self._wake:
            event.set()


async def run_delivery(
    database: Database, notifier: WebhookNotifier, mailbox: Mailbox, stop: asyncio.Event, now: Callable[[], datetime]
) -> None:
    """Deliver to one sink until stopped, while this process leads."""
    wake = mailbox.subscribe()
    while not stop.is_set():
        try:
            if mailbox.leading and await deliver(database, notifier, now):
                continue
        except StoreUnavailable as unavailable:
            log.warning("the outbox cannot be read", sink=notifier.name, error=str(unavailable))
        except Exception:
            telemetry.LOOP_ERRORS.labels(f"deliver {notifier.name}").inc()
            log.exception("delivery failed", sink=notifier.name)
        await _wait(wake, stop)
        wake.clear()


async def _wait(wake: asyncio.Event, stop: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(wake.wait()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
