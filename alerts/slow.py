"""One slow replica among its peers, which no SLO of the fleet would show. Pure.

A rank test: whatever the load and the prompts are, a tenth of a replica's requests should lie above the 90th percentile of its
fleet's times to first token. A replica of which many more do is told apart, however fast the fleet is. Where all are nearly
alike, a request must also take half as long again as the fleet's median to be late: ranks alone would tell 207 ms from 210.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from alerts.alert import Alert, Condition, Observation, Severity, fingerprint
from alerts.finding import Finding, Text, clock
from collector.config import Config

EXPECTED_SHARE = 0.2
"""Share of a healthy replica's requests that may be late: twice what chance makes of it."""
SLOW_SHARE = 0.4
"""Share of a slow replica's requests that are late."""
MEDIAN_FACTOR = 1.5
"""A request is late when it lies above the fleet's p90 and above so many times its median."""
MIN_REPLICAS = 3
"""Of two replicas one is always the slower one."""
MIN_SLOW = 20
"""Late requests without which nothing is said."""
_FALSE_REQUESTS = 1e8
"""One false word in so many requests, if requests were independent."""
THRESHOLD_NATS = math.log(_FALSE_REQUESTS)
_CAP_NATS = 1.25 * THRESHOLD_NATS
"""Evidence is cut off here, or a long slow time would outvote the recovery."""
HOLD_SECONDS = 60.0
FORGET = timedelta(minutes=10)
"""A replica without requests for so long is not judged any more."""
_SLOWER = math.log(SLOW_SHARE / EXPECTED_SHARE)
_FASTER = math.log((1 - SLOW_SHARE) / (1 - EXPECTED_SHARE))


class Rank(NamedTuple):
    """Requests of one replica that ended in the last seconds, and how many of them took longer than the limit [s]."""

    environment: str
    model: str
    replica: str
    late: int
    total: int
    limit_seconds: float


@dataclass(slots=True)
class _Evidence:
    """Nats for a slow replica against a healthy one: a CUSUM. The counts are those since it was last at zero."""

    nats: float
    since: datetime
    seen_at: datetime
    late: int = 0
    total: int = 0
    limit_seconds: float = 0.0


class Ranking:
    """What is known of every replica. One per leadership; of an alert that fires it begins with the alert's evidence."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._evidence: dict[str, _Evidence] = {}
        self._labels: dict[str, dict[str, str]] = {}

    def count(self, ranks: Sequence[Rank], alerts: Mapping[str, Alert], now: datetime) -> None:
        """Take what the last seconds showed."""
        for rank in ranks:
            peers = sum(one.model == rank.model and one.environment == rank.environment for one in ranks)
            mark = self._mark(rank)
            known = self._evidence.get(mark)
            if known is None:
                alert = alerts.get(mark)
                active = alert is not None and alert.active
                known = self._evidence[mark] = _Evidence(THRESHOLD_NATS if active else 0.0, now, now)
            if peers >= MIN_REPLICAS:
                _add(known, rank, now)
        self._evidence = {mark: one for mark, one in self._evidence.items() if now - one.seen_at < FORGET}

    def _mark(self, rank: Rank) -> str:
        labels = {
            "alertname": "SlowReplica",
            "cluster": self._config.cluster,
            "environment": rank.environment,
            "model": rank.model,
            "replica": rank.replica,
        }
        mark = fingerprint(labels)
        self._labels[mark] = labels
        return mark

    def findings(self, alerts: Mapping[str, Alert]) -> Iterable[Finding]:
        """Every replica that is told apart; of those that an alert fires for, each until its evidence is gone."""
        for mark, known in self._evidence.items():
            alert = alerts.get(mark)
            active = alert is not None and alert.active
            slow = known.nats >= THRESHOLD_NATS and known.late >= MIN_SLOW
            if slow or (active and known.nats > 0):
                yield _finding(self._labels[mark], known, Condition.BREACH if slow else Condition.UNSURE)


def _add(known: _Evidence, rank: Rank, now: datetime) -> None:
    if known.nats == 0.0:
        known.since, known.late, known.total = now, 0, 0
    nats = known.nats + rank.late * _SLOWER + (rank.total - rank.late) * _FASTER
    known.nats = min(_CAP_NATS, max(0.0, nats))
    known.late += rank.late
    known.total += rank.total
    known.limit_seconds = rank.limit_seconds
    known.seen_at = now


def _finding(labels: dict[str, str], known: _Evidence, condition: Condition) -> Finding:
    what = f"{known.late} of {known.total} first tokens later than {known.limit_seconds:.3g} s"
    facts = (
        f"{labels['replica']} is slow among the replicas of {labels['model']}: {what}, as one in ten of all is.",
        "The fleet's SLOs may not show it. Compare its prompt lengths, batch, clocks and temperature with its peers'.",
    )
    return Finding(
        labels,
        Observation(condition, what, Severity.TICKET, HOLD_SECONDS),
        Text(f"{labels['model']} on {labels['replica']}: slow replica since {clock(known.since)}", facts, known.since),
    )
