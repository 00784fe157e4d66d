"""Delivery: what waits in the outbox goes to its sink.

One loop per sink, so that a slow one delays neither the others nor evaluation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import inf
from time import monotonic

import structlog

from alerts.notify.notification import Answer, Delivered, Notification, Notifier, Refused, Retry
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


def wait_seconds(answer: Retry, attempts: int) -> float:
    """Time to the next attempt: as the sink asks, within reason."""
    return max(backoff_seconds(attempts), min(answer.after_seconds or 0.0, _LONGEST_BACKOFF_SECONDS))


def log_answer(sink: str, message: Sequence[Notification], answer: Answer, attempts: int) -> None:
    """Count an answer, and say what it means."""
    telemetry.NOTIFICATIONS.labels(sink, type(answer).__name__.lower()).inc(len(message))
    if isinstance(answer, Delivered):
        log.info("told a sink", sink=sink, alerts=len(message), status=message[0].status)
    elif isinstance(answer, Refused):
        log.error("a sink refuses a notification", sink=sink, alerts=len(message), error=answer.error)
    else:
        log.warning("a sink could not be told", sink=sink, alerts=len(message), error=answer.error, attempts=attempts)


async def send_each(notifier: Notifier, notifications: Sequence[Notification]) -> list[tuple[list[Notification], Answer]]:
    """Send notifications side by side, as the sink wants them together. Returns who got which answer.

    Of a message that is refused each one is sent alone, so that one that a sink does not take costs no other.
    """
    messages = notifier.messages(notifications)
    answers = await asyncio.gather(*(notifier.send(message) for message in messages))
    answered = []
    for message, answer in zip(messages, answers, strict=True):
        if isinstance(answer, Refused) and len(message) > 1:
            alone = await asyncio.gather(*(notifier.send([one]) for one in message))
            answered += [([one], own) for one, own in zip(message, alone, strict=True)]
        else:
            answered.append((message, answer))
    return answered


async def deliver(database: Database, notifier: Notifier, now: Callable[[], datetime]) -> int:
    """Deliver what is due for one sink, once. Returns how many notifications were tried.

    :raises StoreUnavailable: when Postgres did not commit; what was sent and not marked is sent again
    """
    lease = timedelta(seconds=notifier.timeout_seconds) + _LEASE_MARGIN
    # A sink that forgets and is told again is Alertmanager, which has silences of its own.
    claimed = await outbox.claim(database, notifier.name, now(), lease, mutes=notifier.resend_seconds is None)
    by_notification = {id(one.notification): one for one in claimed}
    for message, answer in await send_each(notifier, [one.notification for one in claimed]):
        await _settle(database, notifier.name, [by_notification[id(one)] for one in message], answer, now())
    return len(claimed)


async def _settle(database: Database, sink: str, group: Sequence[Claimed], answer: Answer, now: datetime) -> None:
    ids = [one.id for one in group]
    log_answer(sink, [one.notification for one in group], answer, group[0].attempts)
    if isinstance(answer, Delivered):
        await outbox.settle_delivered(database, ids, now)
    elif isinstance(answer, Refused):
        await outbox.settle_failed(database, ids, answer.error, now)
    else:
        for one in group:
            next_at = now + timedelta(seconds=wait_seconds(answer, one.attempts))
            await outbox.settle_retry(database, one.id, answer.error, next_at)


class Resend:
    """What a sink that forgets must be told again. Reads it from the alerts each time, so a new leader goes on with it."""

    def __init__(self, database: Database, notifier: Notifier, seconds: float) -> None:
        self._database = database
        self._notifier = notifier
        self._seconds = seconds
        self.forget()

    def forget(self) -> None:
        """Be due at once: another one may have led in between."""
        self._due = -inf
        self._attempts = 0
        self._beside: set[str] = set()

    async def send_when_due(
        self, standing: Callable[[], Sequence[Notification]], now: Callable[[], datetime], monotonic_seconds: float
    ) -> None:
        """Send everything again, if it is time.

        :raises StoreUnavailable: when the alerts cannot be read
        """
        beside = standing()
        fingerprints = {one.fingerprint for one in beside}
        # A watchdog that was not yet there, because evaluation had only just begun, does not wait for a minute.
        if monotonic_seconds < self._due and fingerprints <= self._beside:
            return
        self._beside = fingerprints
        current = await outbox.read_current(self._database, self._notifier.name, now())
        answered = await send_each(self._notifier, [*current, *beside])
        waits = [wait_seconds(answer, self._attempts + 1) for _, answer in answered if isinstance(answer, Retry)]
        self._attempts = self._attempts + 1 if waits else 0
        self._due = monotonic_seconds + min(self._seconds, max(waits, default=self._seconds))
        for message, answer in answered:
            if not isinstance(answer, Delivered):
                log_answer(self._notifier.name, message, answer, self._attempts)


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
    database: Database,
    notifier: Notifier,
    mailbox: Mailbox,
    stop: asyncio.Event,
    now: Callable[[], datetime],
    *,
    standing: Callable[[], Sequence[Notification]] = tuple,
) -> None:
    """Deliver to one sink until stopped, while this process leads.

    :param standing: what a sink that forgets is told beside the alerts, each time that it is told again
    """
    wake = mailbox.subscribe()
    resend = None if notifier.resend_seconds is None else Resend(database, notifier, notifier.resend_seconds)
    while not stop.is_set():
        try:
            if mailbox.leading:
                # One after the other: an alert that is read and sent again while its end is delivered would fire for ever.
                delivered = await deliver(database, notifier, now)
                if resend is not None:
                    await resend.send_when_due(standing, now, monotonic())
                if delivered:
                    continue
            elif resend is not None:
                resend.forget()
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
