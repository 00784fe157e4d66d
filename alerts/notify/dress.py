"""What a sink gets to see: more labels, its own words for severities, and of tenants no more than it should.

A notification is stored as we know it, and dressed for each sink when it is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from alerts.alert import Severity
from alerts.notify.notification import Answer, Notification, Notifier
from alerts.page import HURT, TENANTS
from collector.config import Config
from collector.sink import Sink, Tenants

_SOMEBODY = "hidden"


class Dressed:
    """A notifier that sends notifications as its sink should see them."""

    def __init__(self, inner: Notifier, sink: Sink, config: Config) -> None:
        self.name = inner.name
        self.timeout_seconds = inner.timeout_seconds
        self.resend_seconds = inner.resend_seconds
        self._inner, self._tenants, self._config = inner, sink.tenants, config

    def messages(self, notifications: Sequence[Notification]) -> list[list[Notification]]:
        """What is sent together."""
        return self._inner.messages(notifications)

    async def send(self, message: Sequence[Notification]) -> Answer:
        """Send one message. Never raises for what a sink does."""
        return await self._inner.send([dress(one, self._tenants, self._config) for one in message])


def dress(notification: Notification, tenants: Tenants, config: Config) -> Notification:
    """A notification for one sink. Its identity, the fingerprint, stays."""
    labels, annotations = dict(notification.labels), dict(notification.annotations)
    known = json.loads(annotations.pop(TENANTS, "{}"))
    if tenants != "names":
        ids = {str(name): int(id) for name, id in known.get("ids", {}).items()}
        named = {labels["tenant"], *ids} if "tenant" in labels else set(ids)
        words = {name: f"t-{ids[name]}" if tenants == "ids" and name in ids else _SOMEBODY for name in named}
        if "tenant" in labels:
            # Two alerts about two tenants must not look like one.
            word = words[labels["tenant"]]
            labels["tenant"] = f"hidden-{notification.fingerprint[:8]}" if word == _SOMEBODY else word
        if tenants == "count":
            annotations = {name: _counted(text, known.get("hurt")) for name, text in annotations.items()}
        annotations = {name: _hide(text, words) for name, text in annotations.items()}
    return replace(notification, labels=_more(labels, config), annotations=annotations)


def _more(labels: Mapping[str, str], config: Config) -> dict[str, str]:
    alerts = config.alerts
    severities = {Severity.PAGE.value: alerts.page_severity, Severity.TICKET.value: alerts.ticket_severity}
    model = config.models.get(labels.get("model", ""))
    owner = {} if model is None or model.owner is None else {"owner": model.owner}
    said = {name: severities.get(value, value) if name == "severity" else value for name, value in labels.items()}
    return {**alerts.labels, **owner, **said}


def _counted(text: str, hurt: int | None) -> str:
    """The line about tenants, with their number alone."""
    lines = [f"{HURT}{hurt}." if line.startswith(HURT) and hurt is not None else line for line in text.split("\n")]
    return "\n".join(lines)


def _hide(text: str, words: Mapping[str, str]) -> str:
    """Every whole mention of a name replaced. A tenant whose name is a common word costs the text that word too."""
    if not words:
        return text
    return re.sub(_mention(words), lambda found: words[found[0]], text)


def _mention(names: Iterable[str]) -> str:
    longest_first = sorted(names, key=len, reverse=True)
    return rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"
