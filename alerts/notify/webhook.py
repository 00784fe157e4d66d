"""A generic webhook: Alertmanager's payload, version 4."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from alerts.notify.notification import Answer, Notification, common, grouped
from alerts.notify.post import post, rfc3339
from collector.sink import Webhook

_NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time: how Alertmanager writes that an alert has not ended."""


class WebhookNotifier:
    """One sink. ``url`` is what the payload names as its source."""

    resend_seconds = None

    def __init__(self, webhook: Webhook, session: aiohttp.ClientSession, *, url: str) -> None:
        self.name = webhook.name
        self.timeout_seconds = webhook.timeout_seconds
        self._webhook = webhook
        self._session = session
        self._url = url

    def messages(self, notifications: Sequence[Notification]) -> list[list[Notification]]:
        """One per group, as Alertmanager would send them."""
        return grouped(notifications)

    async def send(self, message: Sequence[Notification]) -> Answer:
        """POST alerts of one group. Never raises for what a sink does."""
        body = payload(message, self.name, self._url)
        return await post(self._session, self._webhook.url, body, self.timeout_seconds)


def payload(group: Sequence[Notification], receiver: str, url: str) -> dict[str, object]:
    """The body of one POST, member by member as Alertmanager writes it."""
    group_labels = group[0].group_labels
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f"{name}={_quoted(value)}" for name, value in sorted(group_labels.items())) + "}",
        "truncatedAlerts": 0,
        "receiver": receiver,
        "status": "firing" if any(alert.status == "firing" for alert in group) else "resolved",
        "alerts": [_alert(alert, url) for alert in group],
        "groupLabels": group_labels,
        "commonLabels": common(alert.labels for alert in group),
        "commonAnnotations": common(alert.annotations for alert in group),
        "externalURL": url,
    }


def _alert(alert: Notification, url: str) -> dict[str, object]:
    return {
        "status": alert.status,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": rfc3339(alert.ends_at) if alert.ends_at else _NEVER,
        "generatorURL": alert.annotations.get("board_url", url),
        "fingerprint": alert.fingerprint,
    }


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
