"""The Fleet: what the alerter has read of replicas, of what happened to them and of what was done to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from collector.event import Change, Event
from collector.sample import Health


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


class OomRequests(NamedTuple):
    """Requests of the last minutes that failed with an out-of-memory text; ``replica`` is ``None`` where no row names it."""

    model: str
    replica: str | None
    requests: int
    first_at: datetime
    last_at: datetime


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
    events: Sequence[Event] = ()
    """Deaths, memory faults, restarts, and what canaries found, of the last hour, the oldest first."""
    changes: Sequence[Change] = ()
    """What was done in the last hours and may explain a restart."""
    oom_requests: Sequence[OomRequests] = ()
