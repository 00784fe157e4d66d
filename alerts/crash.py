"""What events say of one replica's deaths and restarts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from alerts.fleet import OomRequests
from collector.change import explains
from collector.death_sign import MEMORIES, Says
from collector.event import FOUND, RESTARTS, Change, Event, EventKind

QUIET = timedelta(minutes=5)
"""Signs of memory trouble that are further apart are two troubles."""
CHANGE_BEFORE, CHANGE_AFTER = timedelta(minutes=15), timedelta(minutes=2)
"""A change explains a restart that began up to so long after it, or was seen up to so long before it: pipelines tell late."""
CRASHES = {
    Says.DEVICE_ERROR.value: "device error",
    Says.KILLED.value: "killed by a signal",
    Says.HANG.value: "hang",
}
"""Causes of death that are not memory, as a page writes them."""
_SAME_START = timedelta(seconds=2)


class Oom(NamedTuple):
    """One trouble with memory: what engine logs and failed requests say of it, as far as it is known."""

    since: datetime
    last_at: datetime
    memory: str
    """Whose: CUDA, host …; empty where no text names it."""
    requests: tuple[str, ...]
    """Engine's ids of the requests that were being computed."""
    logged: bool
    """Whether the engine's log says so."""
    failed: int
    """Requests that failed with an out-of-memory text."""


class Restart(NamedTuple):
    """An engine that counts anew: when it was seen, and when its process began, where that is known."""

    at: datetime
    began_at: datetime


def find_oom(events: Iterable[Event], failed: Iterable[OomRequests]) -> Oom | None:
    """The last trouble with memory in one replica's events and failed requests; ``None`` where there is none."""
    logged = [event for event in events if is_oom(event)]
    rows = list(failed)
    spans = sorted([(event.at, event.at) for event in logged] + [(one.first_at, one.last_at) for one in rows], reverse=True)
    if not spans:
        return None
    last_at = max(end for _, end in spans)
    since = last_at
    for begin, end in spans:
        if since - end <= QUIET:
            since = min(since, begin)
    parts = [event for event in logged if event.at >= since]
    ids = {id: None for event in parts for id in event.detail.get("requests", "").split(",") if id}
    memories = [memory for event in parts if (memory := MEMORIES.get(event.detail.get("pattern", "")))]
    return Oom(since, last_at, memories[-1] if memories else "", tuple(ids), bool(parts), sum(one.requests for one in rows))


def is_oom(event: Event) -> bool:
    """Whether an event confirms that memory ran out."""
    return event.kind is EventKind.OOM or (event.kind is EventKind.DEATH and event.detail.get("cause") == Says.OOM.value)


def find_crash(events: Iterable[Event], since: datetime) -> Event | None:
    """The last death since a time that an engine's log gives another cause for than memory, or none."""
    deaths = [event for event in events if event.kind is EventKind.DEATH and not is_oom(event) and event.at >= since]
    return deaths[-1] if deaths else None


def find_restarts(events: Iterable[Event]) -> list[Restart]:
    """Each restart once, however many collectors saw it, in the order in which they were seen."""
    found: list[Restart] = []
    for event in events:
        if event.kind in RESTARTS:
            began = event.detail.get("started_at")
            restart = Restart(event.at, min(event.at, datetime.fromisoformat(began)) if began else event.at)
            if not any(abs(restart.began_at - other.began_at) <= _SAME_START for other in found):
                found.append(restart)
    return found


def explained(restart: Restart, changes: Sequence[Change], replica: str, model: str) -> bool:
    """Whether a change explains a restart: one that a pipeline told of, or one of configuration or version that was found."""
    return known_change(changes, replica, model, restart.began_at - CHANGE_BEFORE, restart.at + CHANGE_AFTER) is not None


def known_change(changes: Iterable[Change], replica: str, model: str, since: datetime, until: datetime) -> Change | None:
    """The first change of a time that was meant for a replica; that it restarted, as it was found, explains nothing."""
    for change in changes:
        concerns = change.replica in (None, replica) and change.model in (None, model)
        if concerns and since <= change.at <= until and (change.source != FOUND or explains(change)):
            return change
    return None
