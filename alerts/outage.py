"""Symptoms of a replica that died: out of memory, dead, restarted. Pure.

One death is told once. While it is known to be out of memory it is ``EngineOOM``, and ``EngineDead`` of the same replica is
folded under it. Where ``EngineDead`` was told first, because the health check was faster than the log, that alert goes on, and
is told again with the cause in its first line: a second name would be a second page for the same death. The restart that ends
an outage that was told is no symptom of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

from alerts.alert import Alert, Condition, Observation, Severity
from alerts.crash import (
    CHANGE_AFTER,
    CHANGE_BEFORE,
    CRASHES,
    QUIET,
    Oom,
    Restart,
    explained,
    find_crash,
    find_oom,
    find_restarts,
    is_oom,
    known_change,
)
from alerts.finding import HOLD_SECONDS, Finding, Text, clock
from alerts.fleet import OomRequests, ReplicaState
from alerts.view import View, health
from collector.event import FOUND, Event
from collector.sample import Health

FAILED_CHECKS_RATIO = 1.5
"""An engine is dead when its last good health check is this many intervals older than its last one: two failed in a row, so
that one lost packet pages nobody. At the default interval of 5 s that is 5 to 10 s after the death."""
START = timedelta(minutes=15)
"""How long an engine may take to become ready: loading a large model takes minutes. Not granted while users are hurt."""
TOGETHER = timedelta(seconds=60)
"""A memory fault and a death that are no further apart are one."""
SETTLE = timedelta(seconds=10)
"""A ticket for memory waits so long, since a death that makes it a page is known by then: one page, and no ticket before it."""
LOOP, LOOP_WITHIN = 3, timedelta(minutes=15)
"""So many unexpected restarts within this time are a crash loop. One is told for as long."""
OOM, DEAD, RESTARTED = "EngineOOM", "EngineDead", "UnexpectedRestart"
_SEVERAL = 5
"""Request ids that a page names; the others are counted."""
_OOM, _REQUESTS = "out of memory", "requests"
"""What is known of a death, and is worth an update of its page."""
_UNNAMED = (None, "unknown")
_ZOMBIE = "It is a zombie: the engine is gone, and /metrics still answers with gauges that look idle."


class Place(NamedTuple):
    """Where memory ran out: in a replica, which may be no target, or in one that nothing names."""

    model: str
    replica: str | None
    is_target: bool


def find_troubles(view: View) -> dict[Place, Oom]:
    """Every trouble with memory that is known. Failed requests that name no replica are of the one whose log says so, where
    that is one alone."""
    found: dict[Place, tuple[list[Event], list[OomRequests]]] = {}
    for event in filter(is_oom, view.fleet.events):
        found.setdefault(_place(view, event.replica, event.model), ([], []))[0].append(event)
    logged = [place for place in found if place.is_target]
    for one in view.fleet.oom_requests:
        place = _place(view, one.replica, one.model)
        candidates = [other for other in logged if place.replica is None and other.model == one.model]
        found.setdefault(candidates[0] if len(candidates) == 1 else place, ([], []))[1].append(one)
    troubles = {place: find_oom(events, requests) for place, (events, requests) in found.items()}
    return {place: oom for place, oom in troubles.items() if oom is not None}


def _place(view: View, replica: str | None, model: str | None) -> Place:
    """What names no replica is the only one's."""
    unnamed = replica in _UNNAMED
    for state in view.replicas:
        if state.replica == replica:
            return Place(state.model, state.replica, True)
    candidates = [state for state in view.replicas if unnamed and model in (*_UNNAMED, state.model)]
    if len(candidates) == 1:
        return Place(candidates[0].model, candidates[0].replica, True)
    return Place(model or "unknown", None if unnamed else replica, False)


def out_of_memory(view: View, state: ReplicaState, oom: Oom | None) -> Finding | None:
    """Memory ran out. Told once even where the engine is back before that is known, and for as long as it is not back."""
    alert, dead = view.alert(OOM, state), view.alert(DEAD, state)
    ready = state.health is Health.READY
    if oom is None:
        if alert is None or not alert.active or ready:
            return None
        since = alert.starts_at or view.now
        return view.finding(OOM, state, Condition.UNSURE, f"not ready: {health(state)}", since, _OOM, ())
    if _over(view, state, oom) and (_tells(alert, oom) or _tells(dead, oom)):
        return None
    # Whichever was told first goes on.
    name = DEAD if dead is not None and dead.active and not (alert is not None and alert.active) else OOM
    what = f"{_OOM} ({oom.memory})" if oom.memory else _OOM
    known = frozenset({_OOM, _REQUESTS} if oom.requests else {_OOM})
    facts = [f"Replica {state.replica} of {state.model} ran out of memory{_of(oom)} at {clock(oom.since)}: {_who_says(oom)}."]
    if not ready:
        facts.append(f"It is not ready: {health(state)}.")
    if state.zombie:
        facts.append(_ZOMBIE)
    facts += _computed(oom)
    reason = f"{what} since {clock(oom.since)}"
    finding = view.finding(name, state, Condition.BREACH, reason, oom.since, what, facts, known=known)
    told = any(one is not None and one.active for one in (alert, dead))
    if finding.observation.severity is Severity.PAGE or told or view.now - oom.since >= SETTLE:
        return finding
    return finding._replace(observation=finding.observation._replace(condition=Condition.SUSPECT))


def _over(view: View, state: ReplicaState, oom: Oom) -> bool:
    """Whether the replica got over it, or stayed up and is quiet."""
    if state.health is Health.READY:
        return state.health_since > oom.last_at or view.now - oom.last_at > QUIET
    # Dead of something else: it was well long after memory had run out.
    return state.ready_at is not None and state.ready_at - oom.last_at > TOGETHER


def _tells(alert: Alert | None, oom: Oom) -> bool:
    """Whether an alert has told of this trouble."""
    if alert is None or _OOM not in alert.known:
        return False
    return alert.active or (alert.ends_at is not None and alert.ends_at >= oom.last_at)


def _of(oom: Oom) -> str:
    return f" ({oom.memory})" if oom.memory else ""


def _who_says(oom: Oom) -> str:
    said = ["its log says so"] if oom.logged else []
    said += [f"{oom.failed} requests failed with an out-of-memory error"] if oom.failed else []
    return " and ".join(said)


def _computed(oom: Oom) -> list[str]:
    if not oom.requests:
        return []
    others = len(oom.requests) - _SEVERAL
    more = f" and {others} more" if others > 0 else ""
    return [f"Requests that were being computed: {len(oom.requests)} ({', '.join(oom.requests[:_SEVERAL])}{more})."]


def out_of_memory_elsewhere(view: View, troubles: Mapping[Place, Oom]) -> Iterator[Finding]:
    """Memory ran out in a replica that is no target, or in one that nothing names."""
    for (model, replica, is_target), oom in troubles.items():
        if is_target:
            continue
        identity = {
            "alertname": OOM,
            "model": model,
            **({} if replica is None else {"replica": replica}),
            "cluster": view.config.cluster,
            "environment": view.config.environment,
        }
        if view.now - oom.last_at > QUIET and _tells(view.known_alert(identity), oom):
            continue
        where = "a replica that no span names" if replica is None else f"{replica}, which is no target"
        what = f"{_OOM}{_of(oom)} since {clock(oom.since)}"
        severity = Severity.PAGE if view.hurt(model) else Severity.TICKET
        known = frozenset({_OOM, _REQUESTS} if oom.requests else {_OOM})
        facts = (f"{model} ran out of memory{_of(oom)} at {clock(oom.since)} on {where}: {_who_says(oom)}.", *_computed(oom))
        yield Finding(
            identity,
            Observation(Condition.BREACH, f"{what}{view.harm(model)}", severity, HOLD_SECONDS, known),
            Text(f"{model} on {replica or 'an unknown replica'}: {what}{view.failed(model)}", facts, oom.since),
        )


def dead(view: View, state: ReplicaState) -> Finding | None:
    """An engine that was ready and is not, or does not become ready. A deploy that was told of may take its time."""
    if state.health not in (Health.FAILING, Health.UNREACHABLE):
        return None
    started = view.fleet.collector_started_at
    # A time that is yet to come was told by a clock that has been set since.
    known_ready = state.ready_at is not None and (started is None or state.ready_at >= started) and state.ready_at <= view.now
    since = min(state.ready_at if known_ready and state.ready_at is not None else state.health_since, view.now)
    how = health(state)
    crash = find_crash(view.events(state.replica), since - TOGETHER)
    cause = CRASHES.get(crash.detail.get("cause", "")) if crash else None
    # What a scrape found was found in an engine that answered: it is no reason to wait for this one.
    posted = [change for change in view.fleet.changes if change.source != FOUND]
    change = known_change(posted, state.replica, state.model, since - CHANGE_BEFORE, since + CHANGE_AFTER)
    if view.now - since < START and not view.hurt(state.model) and cause is None and (not known_ready or change is not None):
        # It may still be starting. An alert that fires already is left alone.
        why = f"after a {change.kind.value} that {change.source} told of" if change else "it may still be starting"
        return view.finding(DEAD, state, Condition.UNSURE, f"{how}; {why}", since, "", ())
    interval = view.target(state).health_seconds
    confirmed = not known_ready or (state.checked_at - since).total_seconds() >= FAILED_CHECKS_RATIO * interval
    what = "engine dead" if known_ready else "engine not ready"
    facts = [f"Replica {state.replica} of {state.model} has not been ready since {clock(since)}: {how}."]
    if cause is not None:
        facts.append(f"Its log names the cause: {cause}.")
    if state.zombie:
        facts.append(_ZOMBIE)
    if not known_ready:
        facts.append("It has not become ready since the collector started to watch it.")
    condition = Condition.BREACH if confirmed else Condition.SUSPECT
    named = f"{what} ({cause})" if cause else f"{what} (zombie)" if state.zombie else what
    known = frozenset({cause} if cause else ())
    return view.finding(DEAD, state, condition, f"not ready since {clock(since)}: {how}", since, named, facts, known=known)


def restarted(view: View, state: ReplicaState, oom: Oom | None) -> Finding | None:
    """A restart that nothing explains. Pipelines may tell of it a little later, so a single one waits for that, unless users
    are hurt."""
    if state.health is not Health.READY:
        return None
    unexpected = [
        restart
        for restart in find_restarts(view.events(state.replica))
        if view.now - restart.at < LOOP_WITHIN
        and not explained(restart, view.fleet.changes, state.replica, state.model)
        and not (oom is not None and restart.began_at - CHANGE_BEFORE <= oom.last_at and oom.since <= restart.at)
    ]
    if not unexpected:
        return None
    last, loops = unexpected[-1], len(unexpected) >= LOOP
    if not loops and _told_of(view, state, last):
        return None
    hurt = view.hurt(state.model) and view.now - last.at < QUIET
    waits = not loops and not hurt and view.now - last.at < CHANGE_AFTER
    what = f"{len(unexpected)} unexpected restarts" if loops else "unexpected restart"
    since = unexpected[0].at
    crash = find_crash(view.events(state.replica), since - CHANGE_BEFORE)
    cause = CRASHES.get(crash.detail.get("cause", "")) if crash else None
    facts = (
        f"Replica {state.replica} of {state.model} restarted at {clock(last.at)}: no change of it is known, and no text that "
        "memory ran out.",
        *([f"It restarted {len(unexpected)} times in {LOOP_WITHIN.seconds // 60} min: a crash loop."] if loops else []),
        *([f"Its log names the cause: {cause}."] if cause else []),
        "A restart that was meant is told of with POST /api/v1/changes, and makes no alert.",
    )
    condition = Condition.SUSPECT if waits else Condition.BREACH
    reason = f"{what} since {clock(since)}, without a known change"
    return view.finding(RESTARTED, state, condition, reason, since, what, facts, pages=hurt)


def _told_of(view: View, state: ReplicaState, restart: Restart) -> bool:
    """Whether the outage that a restart ended was told."""
    for alert in (view.alert(DEAD, state), view.alert(OOM, state)):
        if alert is not None and alert.starts_at is not None and alert.starts_at <= restart.at:
            ended = alert.ends_at
            if alert.active or (ended is not None and ended >= min(restart.began_at, restart.at - CHANGE_AFTER)):
                return True
    return False
