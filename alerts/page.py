"""The text of a page: what somebody reads on a phone at three in the morning. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from alerts.finding import Text, clock
from alerts.story import Exhaustion, Story, breakdown, signs, span
from collector.event import EventKind
from collector.sink import Alerts

SUMMARY_CHARACTERS = 120
BOARD_UID = "llm-slo-on-call"
"""The on-call board's uid in Grafana, which is part of its address."""
TENANTS = "tenants"
"""The annotation that says which tenants a page names. It is ours: no sink gets it."""
HURT = "Tenants hurt: "
"""How the line of a page begins that is about tenants alone."""
_LINKS = ("Board: ", "Runbook: ")
_NAMED = 5
"""Tenants that a page names; the others are counted."""
_SUSPECTS = 3
_CAUSE_BEFORE, _CAUSE_AFTER = timedelta(minutes=5), timedelta(minutes=2)
"""An event so long before a trouble began, or seen so long after that, may be its cause."""
_CAUSES = frozenset(
    {
        EventKind.DEATH,
        EventKind.OOM,
        EventKind.ENGINE_DOWN,
        EventKind.ZOMBIE,
        EventKind.GAUGES_FROZEN,
        EventKind.RESTART,
        EventKind.COUNTER_RESET,
        EventKind.CONTAINER_RESTART,
        EventKind.GPU_XID,
        EventKind.TARGET_GONE,
    }
)
_OUTAGE_BEFORE, _OUTAGE_AFTER = timedelta(minutes=30), timedelta(minutes=30)


class LastEvent(NamedTuple):
    """The last thing that happened to the replica or model. ``detail`` holds short facts."""

    at: datetime
    kind: str
    replica: str
    detail: Mapping[str, str]


class Links(NamedTuple):
    """Where to look further. ``trace`` is a template with ``{trace_id}``."""

    board: str | None
    runbook: str | None
    advice: str
    trace: str | None = None


def compose(
    text: Text,
    story: Story | None,
    event: LastEvent | None,
    links: Links,
    exhausted: Exhaustion | None = None,
    *,
    suspects: bool = False,
) -> dict[str, str]:
    """The annotations of an alert: a summary of at most 120 characters, and a description of a line for each thing to know.

    :param story: ``None`` where it could not be read in time
    :param suspects: whether the event may be the cause; of an alert about the replica itself it is the very subject
    """
    since = clock(text.since)
    lines = list(text.facts) if any(since in fact for fact in text.facts) else [*text.facts, f"Since {since}."]
    lines += _budget(exhausted)
    if story is not None and story.failed:
        lines += _hurt(story)
    suspect = [_suspect(event)] if suspects and event is not None and _is_cause(event, text.since) else []
    lines += _cause([*suspect, *(signs(story, text.since) if story is not None else [])])
    if event is not None:
        detail = ", ".join(f"{name} {value}" for name, value in sorted(_short(event.detail).items()))
        known = f" ({detail})" if detail else ""
        lines.append(f"Last event: {event.kind.replace('_', ' ')} of {event.replica} at {clock(event.at)}{known}.")
    if story is not None:
        lines += _examples(story.traces, links.trace)
    if links.advice:
        lines.append(links.advice)
    lines += [f"{name}: {url}" for name, url in (("Board", links.board), ("Runbook", links.runbook)) if url]
    description = "\n".join(lines)
    annotations = {"summary": shorten(text.summary), "description": description, "since": text.since.isoformat()}
    annotations |= {name: url for name, url in (("board_url", links.board), ("runbook_url", links.runbook)) if url}
    return annotations | (_tenants(story, description) if story is not None else {})


def _short(detail: Mapping[str, str]) -> dict[str, str]:
    """The facts of an event without empty ones, and request ids counted: they may be many, and long."""
    ids = [id for id in detail.get("requests", "").split(",") if id]
    return {name: str(len(ids)) if name == "requests" else value for name, value in detail.items() if value}


def shorten(summary: str, characters: int = SUMMARY_CHARACTERS) -> str:
    """At most so many characters; an ellipsis says where something was left out."""
    return summary if len(summary) <= characters else summary[: characters - 1].rstrip() + "…"


def fit(description: str, characters: int) -> str:
    """A description of at most so many characters. Where something has to go, the links at its end stay."""
    if len(description) <= characters:
        return description
    lines = description.split("\n")
    links = "".join(f"\n{line}" for line in lines if line.startswith(_LINKS))
    told = "\n".join(line for line in lines if not line.startswith(_LINKS))
    return shorten(told, characters - len(links)) + links if len(links) < characters else shorten(description, characters)


def board_link(base: str | None, model: str | None, since: datetime, now: datetime) -> str | None:
    """The on-call board around the time of the alert, where a Grafana is configured."""
    if base is None:
        return None
    start, end = since - _OUTAGE_BEFORE, now + _OUTAGE_AFTER
    model_part = f"&var-model={quote(model, safe='')}" if model else ""
    return f"{base.rstrip('/')}/d/{BOARD_UID}?from={_milliseconds(start)}&to={_milliseconds(end)}{model_part}"


def runbook_link(alerts: Alerts, alertname: str) -> str | None:
    """The runbook of an alert, where runbooks are published."""
    return None if alerts.runbook_url is None else alerts.runbook_url.format(alertname=quote(alertname, safe=""))


def _budget(exhausted: Exhaustion | None) -> list[str]:
    if exhausted is None:
        return []
    expected, soonest, latest = (span(time) for time in exhausted)
    return [f"As in the last minutes, the rest of it lasts {expected} (95 %: {soonest} to {latest}, for independent failures)."]


def _hurt(story: Story) -> list[str]:
    outcomes = ", ".join(
        f"{outcome.name.lower().replace('_', ' ')} {count}"
        for outcome, count in sorted(story.outcomes.items(), key=lambda one: (-one[1], one[0]))
    )
    named = ", ".join(f"{one.tenant} {one.requests}" for one in story.tenants[:_NAMED])
    others = story.tenants_hurt - min(_NAMED, len(story.tenants))
    more = f" and {others} more" if others > 0 else ""
    when = f"among the last {story.requests}" if story.capped else f"in the last {span(story.until - story.since)}"
    found = breakdown(story)
    return [
        f"Requests hurt {when}: {story.failed} ({outcomes}).",
        *([f"{HURT}{named}{more}."] if named else []),
        *([found] if found else []),
    ]


def _is_cause(event: LastEvent, since: datetime) -> bool:
    return event.kind in _CAUSES and -_CAUSE_BEFORE <= event.at - since <= _CAUSE_AFTER


def _suspect(event: LastEvent) -> str:
    return f"{event.kind.replace('_', ' ')} of {event.replica} at {clock(event.at)}"


def _cause(suspects: Sequence[str]) -> list[str]:
    if not suspects:
        return []
    first, *others = suspects[:_SUSPECTS]
    return [f"Probable cause: {first}.", *([f"Also: {'; '.join(others)}."] if others else [])]


def _examples(traces: Sequence[str], template: str | None) -> list[str]:
    if not traces:
        return []
    return [f"Traces: {' '.join(traces if template is None else (template.format(trace_id=id) for id in traces))}"]


def _tenants(story: Story, description: str) -> dict[str, str]:
    named = {one.tenant: one.id for one in story.tenants if one.tenant in description}
    return {TENANTS: json.dumps({"hurt": story.tenants_hurt, "ids": named})} if named else {}


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
