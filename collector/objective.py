"""The Objective: the test that one Request passes or fails. Pure: Request in, verdicts out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import NamedTuple

from collector.request import ObservedBy, Outcome, Request, TrafficClass

OUR_FAULT = frozenset({Outcome.OOM, Outcome.TIMEOUT, Outcome.OVERLOAD, Outcome.UNAVAILABLE, Outcome.SERVER_ERROR})
"""Outcomes that spend budget. A wrong request, a tenant's own quota, a client that left: these are the caller's, and such
requests are not judged at all, so that they can neither hide nor cause a breach."""


class Sli(StrEnum):
    """What is measured. The value is what slos.yaml says and what alerts are labelled with."""

    AVAILABILITY = "availability"
    """Served, or failed by us."""
    TTFT = "ttft"
    """First token within the threshold [s]."""
    TPOT = "tpot"
    """Mean time per output token after the first within the threshold [s]."""
    LATENCY = "latency"
    """Whole answer within the threshold [s]."""


GROUP_BY = ("environment", "model", "tenant", "replica")
"""Fields of a request that verdicts can be grouped by."""


@dataclass(frozen=True)
class Objective:
    """The test, whom it concerns, and what its verdicts are grouped by.

    An empty selector tuple is "any". ``threshold_seconds`` is ``None`` for availability and the limit in seconds for the
    others. ``id`` is a hash of everything that decides a verdict or its stream, so a changed objective is a new one.
    """

    sli: Sli
    threshold_seconds: float | None = None
    observed_by: ObservedBy = ObservedBy.GATEWAY
    environments: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    traffic_classes: tuple[TrafficClass, ...] = (TrafficClass.INTERACTIVE, TrafficClass.BATCH)
    group_by: tuple[str, ...] = ("model",)

    @cached_property
    def definition(self) -> dict[str, object]:
        """What the hash is made over, and what the database keeps beside it."""
        return {
            "sli": self.sli.value,
            "threshold_seconds": self.threshold_seconds,
            "observed_by": self.observed_by.name.lower(),
            "environments": sorted(self.environments),
            "models": sorted(self.models),
            "tenants": sorted(self.tenants),
            "replicas": sorted(self.replicas),
            "traffic_classes": sorted(part.name.lower() for part in self.traffic_classes),
            "group_by": list(self.group_by),
        }

    @cached_property
    def id(self) -> str:
        """16 hex digits."""
        return hashlib.sha256(canonical(self.definition).encode()).hexdigest()[:16]


class Verdict(NamedTuple):
    """One request judged by one objective. ``labels`` are the stream's group-by values as canonical JSON."""

    objective_id: str
    labels: str
    good: bool


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def judge(request: Request, objectives: Iterable[Objective]) -> tuple[Verdict, ...]:
    """The verdicts on a request: one per objective that concerns it and can tell. A sequence is judged once."""
    verdicts: list[Verdict] = []
    if request.is_beside:
        return ()
    for objective in objectives:
        if not _concerns(objective, request):
            continue
        good = _passes(objective, request)
        if good is not None:
            values = tuple([getattr(request, name) or "unknown" for name in objective.group_by])
            verdicts.append(_verdict(objective.id, objective.group_by, values, good))
    return tuple(verdicts)


@lru_cache(maxsize=4096)
def _verdict(objective_id: str, names: tuple[str, ...], values: tuple[str, ...], good: bool) -> Verdict:
    """Streams are few, and requests many."""
    return Verdict(objective_id, canonical(dict(zip(names, values, strict=True))), good)


def _concerns(objective: Objective, request: Request) -> bool:
    return (
        request.observed_by is objective.observed_by
        and request.traffic_class in objective.traffic_classes
        and (not objective.environments or request.environment in objective.environments)
        and (not objective.models or request.model in objective.models)
        and (not objective.tenants or request.tenant in objective.tenants)
        and (not objective.replicas or request.replica in objective.replicas)
    )


def _passes(objective: Objective, request: Request) -> bool | None:
    """Whether the request passes; ``None`` where it is the caller's fault or the row does not say."""
    if objective.sli is Sli.AVAILABILITY:
        if request.outcome is Outcome.OK:
            return True
        return False if request.outcome in OUR_FAULT else None
    measured = _measured(objective.sli, request)
    threshold = objective.threshold_seconds
    assert threshold is not None, f"{objective.sli} without a threshold"
    if request.outcome is Outcome.OK:
        return None if measured is None else measured <= threshold
    if request.outcome is Outcome.TIMEOUT and measured is None and objective.sli is not Sli.TPOT:
        # Nothing came before the deadline: the wait itself is the lower bound of what would have been measured.
        waited = request.latency_seconds
        return False if waited is not None and waited > threshold else None
    return None


def _measured(sli: Sli, request: Request) -> float | None:
    if sli is Sli.TTFT:
        return request.ttft_seconds
    return request.tpot_seconds if sli is Sli.TPOT else request.latency_seconds
