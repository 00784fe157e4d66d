"""Monitoring is blind: an alert that needs no Postgres, because it says that Postgres is gone.

Without Postgres there is no lock and so no leader: every alerter tells every sink for itself. Name, labels and a start in whole
minutes are the same from each of them, so that a sink sees one alert. Nothing of it is stored: an alerter that is started again
while it fires begins anew, and an end that comes before it is back is told by nobody but the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from time import monotonic
from typing import NoReturn

import structlog

from alerts.alert import REFIRE, Severity, fingerprint
from alerts.deliver import log_answer, wait_seconds
from alerts.finding import Text, clock
from alerts.notify.notification import Notification, Notifier, Retry
from alerts.page import Links, compose, runbook_link
from alerts.store.outbox import RESOLVED_RESENT
from collector import telemetry
from collector.config import Config

BLIND_SECONDS = 30.0
"""Without an answer for so long, monitoring is blind [s]."""
HOLD_SECONDS = 10.0
"""How long Postgres must answer without a failure before it counts as back [s]."""
LOOK_SECONDS = 1.0
_ADVICE = "Until this is resolved nobody is paged for models and engines: look at them by hand."

log = structlog.get_logger()


@dataclass(slots=True)
class Sight:
    """What one alerter sees of Postgres, in monotonic seconds."""

    answered: float
    """Last evaluation that was committed, or last answer that another one leads; at first, the start of the process."""
    failed: float = -inf
    """Last attempt that failed."""
    cause: str = "postgres"
    """What failed last: ``postgres``, or ``evaluation`` where Postgres answers and evaluation breaks all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blindness:
    """The state of the alert. ``starts_at``, ``ends_at`` and ``cause`` are those of the present or last firing."""

    active: bool = False
    cause: str = "postgres"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    troubled: float = -inf
    """While it fires: when it was last seen that something is wrong [monotonic s]."""


def advance(state: Blindness, sight: Sight, now: datetime, at: float) -> Blindness:
    """One look, at ``now`` and at ``at`` monotonic seconds. What came of it is told when ``active`` has changed."""
    silent = at - sight.answered
    if not state.active:
        return state if silent < BLIND_SECONDS else _fire(state, sight.cause, now, silent, at)
    troubled = at if silent >= BLIND_SECONDS else max(state.troubled, sight.failed)
    if sight.answered - troubled < HOLD_SECONDS:
        return replace(state, troubled=troubled)
    assert state.starts_at is not None
    return replace(state, active=False, ends_at=max(now, state.starts_at))


def _fire(state: Blindness, cause: str, now: datetime, silent: float, at: float) -> Blindness:
    again = state.cause == cause and state.ends_at is not None and now - state.ends_at <= REFIRE
    since = (now - timedelta(seconds=silent)).replace(second=0, microsecond=0)
    return Blindness(active=True, cause=cause, starts_at=state.starts_at if again else since, troubled=at)


def notification(state: Blindness, config: Config, host: str) -> Notification:
    """What is told of a blindness that fires, or fired."""
    assert state.starts_at is not None
    labels = {
        "alertname": "MonitoringBlind",
        "cause": state.cause,
        "cluster": config.cluster,
        "environment": config.environment,
    }
    broken = "Postgres does not answer" if state.cause == "postgres" else "evaluation breaks"
    text = Text(
        f"monitoring is blind since {clock(state.starts_at)}: {broken}",
        (f"Nothing was evaluated for {BLIND_SECONDS:g} s: {broken}.", f"Said by the alerter on {host}."),
        state.starts_at,
    )
    return Notification(
        fingerprint=fingerprint(labels),
        status="firing" if state.active else "resolved",
        starts_at=state.starts_at,
        ends_at=state.ends_at,
        labels={**labels, "severity": Severity.PAGE.value},
        annotations=compose(text, None, None, Links(None, runbook_link(config.alerts, "MonitoringBlind"), _ADVICE)),
    )


async def watch_blindness(
    sight: Sight, config: Config, notifiers: Sequence[Notifier], stop: asyncio.Event, now: Callable[[], datetime], host: str
) -> None:
    """Look at ``sight`` until stopped, and tell every sink of what it means."""
    queues = [asyncio.Queue[Notification]() for _ in notifiers]
    tasks = [asyncio.create_task(keep_telling(one, queue)) for one, queue in zip(notifiers, queues, strict=True)]
    state = Blindness()
    try:
        while not stop.is_set():
            before, state = state, advance(state, sight, now(), monotonic())
            if state.active != before.active:
                telemetry.ALERTER_BLIND.set(state.active)
                log.error("monitoring is blind" if state.active else "monitoring sees again", cause=state.cause)
                for queue in queues:
                    queue.put_nowait(notification(state, config, host))
            await _pause(stop)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def keep_telling(notifier: Notifier, queue: asyncio.Queue[Notification]) -> NoReturn:
    """Tell one sink, in order, until it has taken each; one that forgets is told again and again."""
    told: Notification | None = None
    repeats = 0
    while True:
        try:
            async with asyncio.timeout(_seconds_to_repeat(notifier, told, repeats)):
                told, repeats = await queue.get(), 0
        except TimeoutError:
            repeats += 1
        assert told is not None
        try:
            await _tell(notifier, told)
        except Exception:
            telemetry.LOOP_ERRORS.labels(f"blind {notifier.name}").inc()
            log.exception("delivery failed", sink=notifier.name)


def _seconds_to_repeat(notifier: Notifier, told: Notification | None, repeats: int) -> float | None:
    """Time to the next time that the last one is told again; ``None`` where it is not."""
    seconds = notifier.resend_seconds
    if seconds is None or told is None:
        return None
    lasts = told.status == "firing" or repeats * seconds < RESOLVED_RESENT.total_seconds()
    return seconds if lasts else None


async def _tell(notifier: Notifier, told: Notification) -> None:
    attempts = 1
    while isinstance(answer := await notifier.send([told]), Retry):
        log_answer(notifier.name, [told], answer, attempts)
        await asyncio.sleep(wait_seconds(answer, attempts))
        attempts += 1
    log_answer(notifier.name, [told], answer, attempts)


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await stop.wait()
    except TimeoutError:
        pass
