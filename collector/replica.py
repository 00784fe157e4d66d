"""How a replica is, and what its health checks and scrapes make of it. Pure: observation and time in, state and events out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from collector.change import config_detail
from collector.event import Event, EventKind
from collector.metrics import REQUESTS_RUNNING, REQUESTS_WAITING, Family, Kind
from collector.sample import Health, Snapshot

FROZEN_SCRAPES = 3
FROZEN_AFTER = timedelta(seconds=30)
"""A busy engine's counters move at every step; this many equal scrapes over this long are no coincidence."""
START_JITTER = timedelta(seconds=2)
"""Two readings of one process's start may differ by rounding."""
MOST_STARTS = 8
"""Starts of earlier processes that are remembered of a replica."""

Values = Mapping[tuple[str, str], Mapping[Family, float]]
"""Per engine and model, what a scrape said of it."""
Configs = Mapping[tuple[str, str], Mapping[str, str]]
"""Per engine and model, what it last said that it is configured with."""
_API_PROCESS = ("process_", "http_", "admission_")
"""Families of the process that answers, which go on when the engine behind it stands still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """One replica. Times are those of our own checks."""

    replica: str
    url: str
    environment: str
    cluster: str
    model: str | None = None
    health: Health = Health.UNKNOWN
    health_status: int | None = None
    health_since: datetime
    checked_at: datetime
    ready_at: datetime | None = None
    scraped_at: datetime | None = None
    scrape_failed_at: datetime | None = None
    """Set while the last scrape is one that failed."""
    process_started_at: datetime | None = None
    requests_running: float | None = None
    requests_waiting: float | None = None
    zombie: bool = False
    values: Values = field(default_factory=dict)
    configs: Configs = field(default_factory=dict)
    same_since: datetime | None = None
    """Since when every value stands still while requests are said to run."""
    same_scrapes: int = 0
    starts: tuple[datetime, ...] = ()
    """Starts of the processes that answered, the last one last."""
    two_processes: bool = False
    """Whether an earlier process answered again since the last one started."""

    @property
    def gauges_frozen_since(self) -> datetime | None:
        """Since when the gauges are frozen; ``None`` while that may be chance."""
        if self.same_since is None or self.scraped_at is None or self.same_scrapes < FROZEN_SCRAPES:
            return None
        return self.same_since if self.scraped_at - self.same_since >= FROZEN_AFTER else None


class Seen(NamedTuple):
    """A new state, and what happened on the way to it."""

    state: ReplicaState
    events: tuple[Event, ...]


def see_health(state: ReplicaState, health: Health, status: int | None, now: datetime) -> Seen:
    """A health check was answered, or not."""
    changed = health is not state.health
    new = replace(
        state,
        health=health,
        health_status=status,
        health_since=now if changed else state.health_since,
        checked_at=now,
        ready_at=now if health is Health.READY else state.ready_at,
        zombie=state.zombie and health is Health.FAILING,
    )
    events = []
    if changed and state.health is Health.READY:
        detail = {"health": health.name.lower()} | ({} if status is None else {"status": str(status)})
        events.append(_event(new, EventKind.ENGINE_DOWN, now, detail))
    elif changed and health is Health.READY and state.health is not Health.UNKNOWN:
        events.append(_event(new, EventKind.ENGINE_READY, now, {}))
    return Seen(new, tuple(events))


def see_scrape(state: ReplicaState, snapshots: Sequence[Snapshot], now: datetime) -> Seen:
    """A scrape was answered by an engine's page."""
    values = {(snapshot.engine, snapshot.model): _lasting(snapshot) for snapshot in snapshots}
    running, waiting = _sum(snapshots, REQUESTS_RUNNING), _sum(snapshots, REQUESTS_WAITING)
    same = bool(running) and values == state.values
    started_at = next((snapshot.process_started_at for snapshot in snapshots if snapshot.process_started_at), None)
    fallen = _fallen(state.values, values)
    again = started_at is not None and any(abs(started_at - start) <= START_JITTER for start in state.starts[:-1])
    new = replace(
        state,
        model=snapshots[0].model,
        scraped_at=now,
        scrape_failed_at=None,
        # A page that no longer tells its start was started anew when its counters fell: the start that we knew is another's.
        process_started_at=started_at or (state.process_started_at if fallen is None else None),
        requests_running=running,
        requests_waiting=waiting,
        # A failing engine whose page says that it is busy is dying, or just died; one that looks idle is a zombie.
        zombie=state.health is Health.FAILING and not running,
        values=values,
        configs={**state.configs, **_configs(snapshots)},
        starts=_starts(state.starts, started_at),
        two_processes=again or (state.two_processes and started_at is not None and _is_known(state.starts, started_at)),
        same_since=(state.same_since or state.scraped_at or now) if same else None,
        same_scrapes=state.same_scrapes + 1 if same else 1,
    )
    return Seen(new, tuple(_scrape_events(state, new, started_at, fallen, now)))


def see_failed_scrape(state: ReplicaState, reason: str, now: datetime) -> Seen:
    """A scrape failed: refused, too slow, or no exposition."""
    new = replace(state, scrape_failed_at=now, same_since=None, same_scrapes=0, zombie=False)
    if state.scrape_failed_at is not None:
        return Seen(new, ())
    return Seen(new, (_event(new, EventKind.SCRAPE_FAILED, now, {"reason": reason}),))


def _scrape_events(
    old: ReplicaState, new: ReplicaState, started_at: datetime | None, fallen: str | None, now: datetime
) -> list[Event]:
    events = []
    if old.scrape_failed_at is not None:
        events.append(_event(new, EventKind.SCRAPE_RECOVERED, now, {}))
    if new.two_processes:
        # Their counters have nothing to do with each other, and neither starts when the other answers.
        if not old.two_processes:
            detail = {"started_at": ", ".join(start.isoformat() for start in new.starts)}
            events.append(_event(new, EventKind.TWO_PROCESSES, now, detail))
    elif started_at is not None and old.process_started_at is not None and started_at - old.process_started_at > START_JITTER:
        events.append(_event(new, EventKind.RESTART, now, {"started_at": started_at.isoformat()}))
    elif fallen is not None:
        events.append(_event(new, EventKind.COUNTER_RESET, now, {"counter": fallen}))
    reconfigured = _reconfigured(old.configs, new.configs)
    if reconfigured and not new.two_processes:
        events.append(_event(new, EventKind.CONFIG_CHANGED, now, reconfigured))
    if new.zombie and not old.zombie:
        events.append(_event(new, EventKind.ZOMBIE, now, {"status": str(new.health_status)}))
    if new.gauges_frozen_since is not None and old.gauges_frozen_since is None:
        events.append(_event(new, EventKind.GAUGES_FROZEN, now, {"since": new.gauges_frozen_since.isoformat()}))
    return events


def _is_known(starts: Sequence[datetime], started_at: datetime) -> bool:
    return any(abs(started_at - start) <= START_JITTER for start in starts)


def _starts(starts: tuple[datetime, ...], started_at: datetime | None) -> tuple[datetime, ...]:
    """The starts with one more, where it is a new one."""
    if started_at is None or _is_known(starts, started_at):
        return starts
    return (*starts, started_at)[-MOST_STARTS:]


def _configs(snapshots: Sequence[Snapshot]) -> dict[tuple[str, str], Mapping[str, str]]:
    return {(snapshot.engine, snapshot.model): snapshot.config for snapshot in snapshots if snapshot.config}


def _reconfigured(old: Configs, new: Configs) -> dict[str, str]:
    """What the first engine that changed says of it: those of one page are configured alike."""
    details = (config_detail(old[engine], config) for engine, config in new.items() if engine in old)
    return next((detail for detail in details if detail), {})


def _lasting(snapshot: Snapshot) -> dict[Family, float]:
    """What a frozen engine no longer changes: its own values, not those of the process that still answers for it."""
    return {family: value for family, value in snapshot.values.items() if not family.name.startswith(_API_PROCESS)}


def _fallen(old: Values, new: Values) -> str | None:
    """The first counter that fell: the engine starts counting anew."""
    for engine, values in new.items():
        before = old.get(engine, {})
        for family, value in values.items():
            if family.kind is Kind.COUNTER and value < before.get(family, 0.0):
                return family.name
    return None


def _sum(snapshots: Sequence[Snapshot], family: Family) -> float | None:
    found = [snapshot.values[family] for snapshot in snapshots if family in snapshot.values]
    return sum(found) if found else None


def _event(state: ReplicaState, kind: EventKind, at: datetime, detail: dict[str, str]) -> Event:
    return Event(at=at, kind=kind, replica=state.replica, model=state.model, detail=detail)
