"""Slack, by an incoming webhook. Its URL is a secret: it is in no log and in no error.

An incoming webhook cannot change what it has said: an end is a message of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import aiohttp

from alerts.notify.notification import Answer, Notification, grouped
from alerts.notify.post import post
from alerts.page import fit
from alerts.story import span
from collector.sink import Slack

SECTION_CHARACTERS = 3000
"""Slack's limit for the text of a section; beyond it the whole message is refused."""
MESSAGE_ALERTS = 20
"""Alerts of one message: two blocks each, of Slack's 50."""
_SIGNS = {"firing": ":red_circle:", "resolved": ":white_check_mark:"}


class SlackNotifier:
    """One channel. ``ticket`` is the label ``severity`` of a ticket.

    :raises ConfigError: naming the key, where the webhook's URL cannot be read
    """

    resend_seconds = None

    def __init__(self, slack: Slack, session: aiohttp.ClientSession, *, ticket: str) -> None:
        self.name = slack.name
        self.timeout_seconds = slack.timeout_seconds
        self._url = slack.url()
        self._session = session
        self._ticket = ticket

    def messages(self, notifications: Sequence[Notification]) -> list[list[Notification]]:
        """One per group, or more where a group is large."""
        return [
            group[at : at + MESSAGE_ALERTS] for group in grouped(notifications) for at in range(0, len(group), MESSAGE_ALERTS)
        ]

    async def send(self, message: Sequence[Notification]) -> Answer:
        """POST alerts of one group. Never raises for what Slack does. A 200 without ``ok`` comes from somebody else."""
        body = payload(message, self._ticket)
        return await post(self._session, self._url, body, self.timeout_seconds, taken=_taken, secret=True)


def _taken(status: int, body: str) -> bool:
    return status == 200 and body == "ok"


def payload(group: Sequence[Notification], ticket: str) -> dict[str, object]:
    """The body of one POST: ``text`` for the phone's preview, and two blocks for each alert."""
    headlines = [_headline(one, ticket) for one in group]
    more = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
    blocks = [block for one, headline in zip(group, headlines, strict=True) for block in _blocks(one, headline)]
    return {"text": headlines[0] + more, "blocks": blocks}


def _headline(alert: Notification, ticket: str) -> str:
    summary = _escaped(alert.annotations.get("summary", alert.labels["alertname"]))
    if alert.status == "resolved":
        lasted = f" after {span(max(alert.ends_at - alert.starts_at, timedelta(0)))}" if alert.ends_at else ""
        return f"{_SIGNS['resolved']} Resolved{lasted}: {summary}"
    sign = ":large_yellow_circle:" if alert.labels.get("severity") == ticket else _SIGNS["firing"]
    return f"{sign} {summary}"


def _blocks(alert: Notification, headline: str) -> list[dict[str, object]]:
    """An end needs no more than its headline."""
    described = alert.annotations.get("description", "")
    texts = [f"*{headline}*"] if alert.status == "resolved" or not described else [f"*{headline}*", _escaped(described)]
    return [{"type": "section", "text": {"type": "mrkdwn", "text": fit(text, SECTION_CHARACTERS)}} for text in texts]


def _escaped(text: str) -> str:
    """Slack reads these three as markup: a model's name could otherwise call a whole channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
