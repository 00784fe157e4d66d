"""The View: one reading of the fleet at one time, and what a finding about one of its replicas says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from alerts.alert import Alert, Condition, Observation, Severity, fingerprint
from alerts.burn import Tally
from alerts.finding import HOLD_SECONDS, Finding, Harm, Text, clock
from alerts.fleet import Fleet, ReplicaState
from collector.config import Config
from collector.event import CANARY, Event, EventKind
from collector.sample import Health
from collector.target import Target

STALE = timedelta(seconds=60)
"""Least age of a replica's last scrape at which its data counts as missing; three scrape intervals where that is longer."""
FORGOTTEN = timedelta(hours=1)
"""A replica that nobody has checked for so long, while collectors live, is no longer a target."""
FROZEN = timedelta(seconds=60)
"""How long all gauges must stand still while requests are said to run."""
CANARY_LASTS = timedelta(minutes=32)
"""How long a failing canary is believed without another word: it calls at least every 15 minutes, and says so again then."""

_UNLISTED = Target(url="http://unlisted")


class View:
    """Values only. ``alerts`` are those that are known, by fingerprint: what was told before is not told again."""

    def __init__(
        self,
        fleet: Fleet,
        harm: Mapping[str, Harm],
        config: Config,
        watching_since: datetime,
        now: datetime,
        alerts: Mapping[str, Alert],
    ) -> None:
        self.fleet, self.config, self.watching_since, self.now = fleet, config, watching_since, now
        self._harm, self._alerts = harm, alerts
        self._targets = {target.replica_name: target for target in config.targets}
        self._events: dict[str, list[Event]] = {}
        for event in fleet.events:
            self._events.setdefault(event.replica, []).append(event)
        self.replicas = [
            state for state in fleet.replicas if state.health is not Health.GONE and now - state.checked_at < FORGOTTEN
        ]
        """Those that are still targets."""

    def events(self, replica: str) -> Sequence[Event]:
        """What happened to one replica, the oldest first."""
        return self._events.get(replica, ())

    def peers(self, state: ReplicaState) -> Iterator[ReplicaState]:
        """The known replicas of the same model in the same place."""
        place = (state.model, state.environment, state.cluster)
        return (other for other in self.replicas if (other.model, other.environment, other.cluster) == place)

    def serves(self, state: ReplicaState) -> bool:
        """Whether a replica takes requests, as far as is known."""
        frozen = state.gauges_frozen_since is not None and self.now - state.gauges_frozen_since >= FROZEN
        limit = max(STALE, timedelta(seconds=3 * self.target(state).health_seconds))
        ready = state.health is Health.READY and self.now - state.checked_at <= limit
        # Its log says that it died, and no health check has been made since.
        gone = any(event.kind is EventKind.DEATH and event.at > state.checked_at for event in self.events(state.replica))
        return ready and not frozen and not gone and not self.failing_canary(state)

    def failing_canary(self, state: ReplicaState) -> Sequence[Event]:
        """What is told of calls of our own that fail, the oldest first; empty where they work, or there are none."""
        found = [event for event in self.events(state.replica) if event.kind in CANARY]
        recovered = [number for number, event in enumerate(found, 1) if event.kind is EventKind.CANARY_RECOVERED]
        failing = found[max(recovered, default=0) :]
        # What failed before the engine came back says nothing of this one.
        lasts = failing and self.now - failing[-1].at <= CANARY_LASTS and failing[-1].at >= state.health_since
        return failing if lasts else ()

    def target(self, state: ReplicaState) -> Target:
        """What the configuration says about a replica; its defaults where another collector watches it."""
        return self._targets.get(state.replica, _UNLISTED)

    def hurt(self, model: str) -> bool:
        """Whether users of a model are hurt."""
        return model in self._harm and self._harm[model].hurt

    def alert(self, name: str, state: ReplicaState) -> Alert | None:
        """The alert of this name about a replica, whatever its state."""
        return self._alerts.get(fingerprint(labels(name, state)))

    def known_alert(self, identity: Mapping[str, str]) -> Alert | None:
        """The alert with these labels, whatever its state."""
        return self._alerts.get(fingerprint(identity))

    def failed(self, model: str) -> str:
        """How many requests of a model failed, as the end of a summary; empty where none did."""
        tally = self._harm[model].tally if model in self._harm else Tally(0, 0)
        return f", {tally.bad} of {tally.good + tally.bad} requests failed in 5 min" if tally.bad else ""

    def harm(self, model: str) -> str:
        """That users are hurt, as part of a reason; empty where they are not."""
        return f"; users are hurt: {self._harm[model].tally.bad} requests failed in 5 minutes" if self.hurt(model) else ""

    def finding(
        self,
        name: str,
        state: ReplicaState,
        condition: Condition,
        reason: str,
        since: datetime,
        what: str,
        facts: Sequence[str],
        *,
        known: frozenset[str] = frozenset(),
        pages: bool | None = None,
    ) -> Finding:
        """A finding about one replica. Unless told otherwise it pages when users are hurt or too few replicas serve."""
        peers = list(self.peers(state))
        ready, wanted = sum(map(self.serves, peers)), self.config.min_ready(state.model)
        if pages is None:
            pages = self.hurt(state.model) or ready < wanted
        why = f"{reason}{self.harm(state.model)}; {ready} of {len(peers)} replicas serve"
        summary = f"{state.model} on {state.replica}: {what} since {clock(since)}, {ready}/{len(peers)} ready"
        return Finding(
            labels(name, state),
            Observation(condition, why, Severity.PAGE if pages else Severity.TICKET, HOLD_SECONDS, known),
            Text(
                f"{summary}{self.failed(state.model)}",
                (*facts, f"Ready replicas of {state.model}: {ready} of {len(peers)} (min_ready {wanted})."),
                since,
            ),
        )


def labels(name: str, state: ReplicaState) -> dict[str, str]:
    """The identity of an alert about one replica."""
    return {
        "alertname": name,
        "model": state.model,
        "replica": state.replica,
        "cluster": state.cluster,
        "environment": state.environment,
    }


def health(state: ReplicaState) -> str:
    """What the last health check said, as part of a sentence."""
    if state.health is Health.FAILING:
        return f"its health check answers {state.health_status}" if state.health_status else "its health check fails"
    return "its health check gets no answer" if state.health is Health.UNREACHABLE else state.health.name.lower()
