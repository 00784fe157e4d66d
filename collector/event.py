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
    CONFIG_CHANGED = "config_changed"
    """The engine says that it is configured otherwise than before."""
    METRICS_GONE = "metrics_gone"
    """A new version of the engine no longer says what the one before it said."""
    TWO_PROCESSES = "two_processes"
    """An earlier process answers again: two answer for one replica, or a balancer stands before several."""
    TARGET_GONE = "target_gone"
    """No source names it as a target any more."""
    CANARY_FAILED = "canary_failed"
    """Calls of our own failed, one after the other."""
    CANARY_RECOVERED = "canary_recovered"
    GPU_XID = "gpu_xid"
    """The driver of a GPU reports an error."""
    CONTAINER_RESTART = "container_restart"
    """Kubernetes started a container anew."""
    DEATH = "death"
    OOM = "oom"


class ChangeKind(StrEnum):
    """What was done. The value is stored."""

    DEPLOY = "deploy"
    RESTART = "restart"
    CONFIG = "config"
    VERSION = "version"


RESTARTS = frozenset({EventKind.RESTART, EventKind.COUNTER_RESET})
"""Events after which an engine counts anew."""
CANARY = frozenset({EventKind.CANARY_FAILED, EventKind.CANARY_RECOVERED})
FOUND = "found"
"""The source of a change that a scrape found. Nobody else may call himself that."""
_CHANGES = dict.fromkeys(RESTARTS, ChangeKind.RESTART) | {EventKind.CONFIG_CHANGED: ChangeKind.CONFIG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a replica. ``detail`` holds short facts (an error class, a status), never text of a prompt."""

    at: datetime
    kind: EventKind
    replica: str
    model: str | None = None
    detail: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that was done to a replica or a model and may explain what happened after it; ``None`` is all of them."""

    at: datetime
    kind: ChangeKind
    source: str
    """Who says so: ``found`` by a scrape, or the pipeline that posted it."""
    replica: str | None = None
    model: str | None = None
    detail: dict[str, str] = field(default_factory=dict)


def change_of(event: Event) -> Change | None:
    """The change that an event of an engine tells of."""
    if event.kind not in _CHANGES:
        return None
    return Change(
        at=event.at,
        kind=_CHANGES[event.kind],
        source=FOUND,
        replica=event.replica,
        model=event.model,
        detail=event.detail,
    )
