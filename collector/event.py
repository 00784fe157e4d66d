"""The Event: something that happened to an engine, and the Change: a deploy, restart or config change that explains it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class EventKind(StrEnum):
    """What happened. The value is stored."""

    SCRAPE_FAILED = "scrape_failed"
    SCRAPE_RECOVERED = "scrape_recovered"
    ENGINE_DOWN = "engine_down"
    """Health refused or failing after it was ready."""
    ENGINE_READY = "engine_ready"
    RESTART = "restart"
    COUNTER_RESET = "counter_reset"
    ZOMBIE = "zombie"
    """Health 503 while /metrics answers with gauges that look idle."""
    GAUGES_FROZEN = "gauges_frozen"
    """Every gauge stands still while requests are said to run."""
    DEATH = "death"
    OOM = "oom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a replica. ``detail`` holds short facts (an error class, a status), never text of a prompt."""

    at: datetime
    kind: EventKind
    replica: str
    model: str | None = None
    detail: dict[str, str] = field(default_factory=dict)
