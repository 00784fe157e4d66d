"""Signs of life, for whoever pages when they stop: an alert that always fires, and a URL that is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import monotonic

import aiohttp
import structlog

from alerts.alert import fingerprint
from alerts.notify.notification import Notification
from alerts.page import runbook_link
from collector import telemetry
from collector.config import Config

HEARTBEAT_SECONDS = 60.0
"""Time from one call to the next [s]."""
LOOK_SECONDS = 1.0
_TIMEOUT = aiohttp.ClientTimeout(total=10)

log = structlog.get_logger()


def watchdog(config: Config, starts_at: datetime) -> Notification:
    """The alert that always fires. That it reaches people proves that the way to them is open."""
    runbook = runbook_link(config.alerts, "Watchdog")
    labels = {"alertname": "Watchdog", "cluster": config.cluster, "environment": config.environment}
    return Notification(
        fingerprint=fingerprint(labels),
        status="firing",
        starts_at=starts_at,
        ends_at=None,
        labels={**labels, "severity": "none"},
        annotations={
            **({} if runbook is None else {"runbook_url": runbook}),
            "summary": "llm-slo evaluates, and can tell this Alertmanager",
            "description": "Fires always. Route it to a service that pages when it stops.",
        },
    )


async def run_heartbeat(url: str, session: aiohttp.ClientSession, healthy: Callable[[], bool], stop: asyncio.Event) -> None:
    """Call ``url`` once a minute until stopped, while evaluation works here."""
    due = monotonic()
    while not stop.is_set():
        if healthy() and monotonic() >= due:
            due = monotonic() + HEARTBEAT_SECONDS
            await _call(url, session)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await stop.wait()
        except TimeoutError:
            pass


async def _call(url: str, session: aiohttp.ClientSession) -> None:
    """One GET. The URL is a secret with most services, so neither it nor an error's text, which may hold it, is logged."""
    try:
        async with session.get(url, timeout=_TIMEOUT) as response:
            if response.status >= 400:
                log.warning("the heartbeat was not taken", status=response.status)
    except (aiohttp.ClientError, ValueError, OSError, TimeoutError) as error:
        log.warning("the heartbeat was not taken", error=type(error).__name__)
    except Exception:
        telemetry.LOOP_ERRORS.labels("heartbeat").inc()
        log.exception("the heartbeat failed")
