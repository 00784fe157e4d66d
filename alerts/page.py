"""The text of a page: what somebody reads on a phone at three in the morning. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from alerts.symptoms import Text, clock
from collector.request import Outcome

SUMMARY_CHARACTERS = 120
BOARD_UID = "llm-slo-on-call"
"""The on-call board's uid in Grafana, which is part of its address."""
_TENANTS = 5
"""Tenants that a page names; the others are counted."""
_OUTAGE_BEFORE, _OUTAGE_AFTER = timedelta(minutes=30), timedelta(minutes=30)


class Failure(NamedTuple):
    """Requests that failed, or were too slow, in the last 5 minutes: of one tenant, in one way."""

    tenant: str
    outcome: Outcome
    requests: int


class LastEvent(NamedTuple):
    """The last thing that happened to the replica or model. ``detail`` holds short facts."""

    at: datetime
    kind: str
    replica: str
    detail: Mapping[str, str]


class Links(NamedTuple):
    """Where to look further."""

    board: str | None
    runbook: str | None
    advice: str


def compose(text: Text, failures: Sequence[Failure], event: LastEvent | None, links: Links) -> dict[str, str]:
    """The annotations of an alert: a summary of at most 120 characters and a description of a few lines."""
    lines = list(text.facts)
    if failures:
        lines += _hurt(failures)
    if event is not None:
        detail = ", ".join(f"{name} {value}" for name, value in sorted(event.detail.items()))
        known = f" ({detail})" if detail else ""
        lines.append(f"Last event: {event.kind.replace('_', ' ')} of {event.replica} at {clock(event.at)}{known}.")
    if links.advice:
        lines.append(links.advice)
    lines += [f"{name}: {url}" for name, url in (("Board", links.board), ("Runbook", links.runbook)) if url]
    annotations = {"summary": shorten(text.summary), "description": "\n".join(lines), "since": text.since.isoformat()}
    annotations |= {name: url for name, url in (("board_url", links.board), ("runbook_url", links.runbook)) if url}
    return annotations


def shorten(summary: str) -> str:
    """At most 120 characters; an ellipsis says where something was left out."""
    return summary if len(summary) <= SUMMARY_CHARACTERS else summary[: SUMMARY_CHARACTERS - 1].rstrip() + "…"


def board_link(base: str | None, model: str | None, since: datetime, now: datetime) -> str | None:
    """The on-call board around the time of the alert, where a Grafana is configured."""
    if base is None:
        return None
    start, end = since - _OUTAGE_BEFORE, now + _OUTAGE_AFTER
    model_part = f"&var-model={quote(model, safe='')}" if model else ""
    return f"{base.rstrip('/')}/d/{BOARD_UID}?from={_milliseconds(start)}&to={_milliseconds(end)}{model_part}"


def _hurt(failures: Sequence[Failure]) -> list[str]:
    by_outcome: Counter[str] = Counter()
    by_tenant: Counter[str] = Counter()
    for failure in failures:
        by_outcome[failure.outcome.name.lower().replace("_", " ")] += failure.requests
        by_tenant[failure.tenant] += failure.requests
    outcomes = ", ".join(f"{name} {count}" for name, count in by_outcome.most_common())
    named = ", ".join(f"{name} {count}" for name, count in by_tenant.most_common(_TENANTS))
    others = len(by_tenant) - _TENANTS
    more = f" and {others} more" if others > 0 else ""
    return [f"Requests hurt in the last 5 min: {by_outcome.total()} ({outcomes}).", f"Tenants hurt: {named}{more}."]


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
