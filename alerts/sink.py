"""A sink that cannot be told: a symptom of our own, which goes to people through the other sinks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from alerts.alert import Condition, Observation, Severity
from alerts.finding import HOLD_SECONDS, Finding, Text, clock
from collector.config import Config


class Trouble(NamedTuple):
    """What a sink has not taken. ``since`` is when the oldest of it was to be told, or was refused."""

    sink: str
    since: datetime
    waiting: int
    """Notifications that are tried again."""
    refused: int
    """Notifications that were given up: the sink will never take them."""
    pages: bool
    """Whether there are pages among them."""
    error: str


def find_failing_sinks(troubles: Iterable[Trouble], config: Config, now: datetime) -> Iterator[Finding]:
    """An alert for each sink that has taken nothing for the configured time, or refuses what it is sent."""
    names = set(config.sinks.names)
    for trouble in troubles:
        lasts = now - trouble.since >= timedelta(minutes=config.alerts.sink_failing_minutes)
        if trouble.sink not in names or not (lasts or trouble.refused):
            continue
        labels = {
            "alertname": "SinkFailing",
            "sink": trouble.sink,
            "cluster": config.cluster,
            "environment": config.environment,
        }
        since, error = clock(trouble.since), trouble.error
        waits = [f"{trouble.waiting} notifications wait for it and are tried again"] if trouble.waiting else []
        refused = [f"{trouble.refused} were refused, and reached nobody by it"] if trouble.refused else []
        facts = (
            f"The sink {trouble.sink} has taken nothing since {since}. The last answer: {error}.",
            f"{'; '.join(waits + refused)}.",
            "Who is reached by it alone does not know what fires.",
        )
        severity = Severity.PAGE if trouble.pages else Severity.TICKET
        yield Finding(
            labels,
            Observation(Condition.BREACH, f"{trouble.sink} takes nothing since {since}: {error}", severity, HOLD_SECONDS),
            Text(f"{trouble.sink} cannot be told since {since}: {error}", facts, trouble.since),
        )
