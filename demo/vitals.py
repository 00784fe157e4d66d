"""What collector and alerter say of themselves at /metrics: all that is known of them while Postgres is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import aiohttp

from collector.errors import MalformedExposition
from collector.exposition import parse
from collector.sample import Sample

_TIMEOUT_SECONDS = 2.0
_SETTLED = ("rows", "merged", "ignored", "duplicate", "rejected")


class CollectorVitals(NamedTuple):
    """Counts of spans since the process started."""

    started: float
    """Start of the process [s since the epoch]: before it the counts began at zero."""
    received: int
    """Acknowledged."""
    settled: Mapping[str, int]
    """What became of them: rows, merged, ignored, duplicate, rejected."""
    pending: int
    refused: int
    """Whose body was refused; the sender keeps them."""
    appended: int
    """Requests that went into the spool, and ``replayed`` that left it."""
    replayed: int
    spool_bytes: int
    spool_oldest_seconds: float
    commits: int
    commit_seconds: float
    """Of all commits together."""

    @property
    def missing(self) -> int:
        """Acknowledged spans of which nothing is known; there must never be any."""
        return self.received - sum(self.settled.values()) - self.pending


class AlerterVitals(NamedTuple):
    """How the alerter is."""

    leads: bool
    blind: bool
    """It tells people that monitoring is blind."""
    attempts: Mapping[tuple[str, str], int]
    """Attempts to deliver a notification since the process started, by sink and result."""


class Vitals(NamedTuple):
    """Both processes; None for one that does not answer."""

    collector: CollectorVitals | None
    alerter: AlerterVitals | None


async def read_vitals(collector_url: str, alerter_url: str) -> Vitals:
    """Ask both."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)) as session:
        collector, alerter = await asyncio.gather(_samples(session, collector_url), _samples(session, alerter_url))
    return Vitals(
        None if collector is None else collector_vitals(collector), None if alerter is None else alerter_vitals(alerter)
    )


def collector_vitals(samples: Sequence[Sample]) -> CollectorVitals:
    """What a collector's page says."""
    counted = {name: int(_total(samples, f"llm_slo_spans_{name}_total")) for name in ("received", "refused", *_SETTLED)}
    return CollectorVitals(
        started=_total(samples, "process_start_time_seconds"),
        received=counted["received"],
        settled={name: counted[name] for name in _SETTLED},
        pending=int(_total(samples, "llm_slo_spans_pending")),
        refused=counted["refused"],
        appended=int(_total(samples, "llm_slo_spool_appended_total")),
        replayed=int(_total(samples, "llm_slo_spool_replayed_total")),
        spool_bytes=int(_total(samples, "llm_slo_spool_bytes")),
        spool_oldest_seconds=_total(samples, "llm_slo_spool_oldest_seconds"),
        commits=int(_total(samples, "llm_slo_commit_seconds_count")),
        commit_seconds=_total(samples, "llm_slo_commit_seconds_sum"),
    )


def alerter_vitals(samples: Sequence[Sample]) -> AlerterVitals:
    """What an alerter's page says."""
    attempts = [sample for sample in samples if sample.name == "llm_slo_notifications_total"]
    return AlerterVitals(
        leads=_total(samples, "llm_slo_alerter_leader") == 1,
        blind=_total(samples, "llm_slo_alerter_blind") == 1,
        attempts={(one.labels["sink"], one.labels["result"]): int(one.value) for one in attempts},
    )


def _total(samples: Sequence[Sample], name: str) -> float:
    return sum(sample.value for sample in samples if sample.name == name)


async def _samples(session: aiohttp.ClientSession, url: str) -> list[Sample] | None:
    try:
        async with session.get(f"{url}/metrics") as response:
            return parse(await response.text())
    except (aiohttp.ClientError, TimeoutError, MalformedExposition):
        return None
