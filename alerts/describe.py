"""What a page says, read and put together at the moment at which it is to be told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from alerts.finding import Text
from alerts.page import Links, board_link, compose, runbook_link
from alerts.store.fleet import read_last_event
from alerts.store.leader import Connection
from alerts.store.story import Subject, read_story
from alerts.story import Exhaustion
from collector.config import Config
from collector.objective import Objective, Sli


class About(NamedTuple):
    """An alert that is to be told. ``objective`` is by what is counted who is hurt: availability where there is no SLO."""

    labels: Mapping[str, str]
    model: str | None
    text: Text
    objective: Objective | None = None
    exhausted: Exhaustion | None = None
    runbook_url: str | None = None
    advice: str = ""


async def describe(
    connection: Connection, config: Config, about: About, now: datetime, *, story: bool = True
) -> dict[str, str]:
    """The annotations. What takes too long to read is left out: the page goes all the same.

    :param story: whether there is time for what is told beside the verdict
    """
    labels, model, text = about.labels, about.model, about.text
    objective = about.objective or Objective(Sli.AVAILABILITY, observed_by=config.primary_observed_by)
    # Failures of the model, wherever they were served: that one replica has them all is for the breakdown to say.
    chosen = {name: value for name, value in labels.items() if name in objective.group_by and name != "model"}
    if about.objective is None:
        chosen = {}
    subject = Subject(objective, chosen if model is None else {**chosen, "model": model}, text.since)
    found = await read_story(connection, subject, now) if story and (model or about.objective) else None
    event = await read_last_event(connection, model, labels.get("replica"), now)
    links = Links(
        board=board_link(config.board_url, model, text.since, now),
        runbook=about.runbook_url or runbook_link(config.alerts, labels["alertname"]),
        advice=about.advice,
        trace=config.alerts.trace_url,
    )
    return compose(text, found, event, links, about.exhausted, suspects="replica" not in labels)
