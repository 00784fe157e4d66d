"""PagerDuty, by its Events API v2. By the fingerprint it knows one incident, that more is known of it, and that it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp

from alerts.notify.notification import Answer, Notification
from alerts.notify.post import post, rfc3339
from alerts.page import fit, shorten
from collector.sink import PagerDuty

SUMMARY_CHARACTERS = 1024
"""PagerDuty's limit."""
KEY_CHARACTERS = 255
"""PagerDuty's limit for ``dedup_key``."""
DETAIL_CHARACTERS = 10_000


class PagerDutyNotifier:
    """One service. ``url`` names us; ``severities`` are PagerDuty's words by our label.

    :raises ConfigError: naming the key, where the routing key cannot be read
    """

    resend_seconds = None

    def __init__(self, service: PagerDuty, session: aiohttp.ClientSession, *, url: str, severities: Mapping[str, str]) -> None:
        self.name = service.name
        self.timeout_seconds = service.timeout_seconds
        self._endpoint, self._routing_key = service.url, service.routing_key()
        self._session = session
        self._url = url
        self._severities = severities

    def messages(self, notifications: Sequence[Notification]) -> list[list[Notification]]:
        """Each alone: an event is about one incident."""
        return [[one] for one in notifications]

    async def send(self, message: Sequence[Notification]) -> Answer:
        """POST one event. Never raises for what PagerDuty does, which says 202 where it has taken it."""
        (one,) = message
        body = payload(one, self._routing_key, self._url, self._severities)
        return await post(self._session, self._endpoint, body, self.timeout_seconds, taken=_taken)


def _taken(status: int, body: str) -> bool:
    return status == 202


def payload(alert: Notification, routing_key: str, url: str, severities: Mapping[str, str]) -> dict[str, object]:
    """The body of one POST."""
    event: dict[str, object] = {"routing_key": routing_key, "dedup_key": alert.fingerprint[:KEY_CHARACTERS]}
    if alert.status == "resolved":
        return {**event, "event_action": "resolve"}
    labels, annotations = alert.labels, alert.annotations
    return {
        **event,
        "event_action": "trigger",
        "client": "llm-slo",
        "client_url": annotations.get("board_url", url),
        "links": [
            {"href": annotations[name], "text": text}
            for name, text in (("board_url", "Board"), ("runbook_url", "Runbook"))
            if name in annotations
        ],
        "payload": {
            "summary": shorten(annotations.get("summary", labels["alertname"]), SUMMARY_CHARACTERS),
            "source": labels.get("replica") or labels.get("model") or labels.get("cluster", "llm-slo"),
            "severity": severities.get(labels.get("severity", ""), "critical"),
            "timestamp": rfc3339(alert.starts_at),
            "class": labels["alertname"],
            **({"component": labels["model"]} if "model" in labels else {}),
            **({"group": labels["environment"]} if "environment" in labels else {}),
            "custom_details": {
                "description": fit(annotations.get("description", ""), DETAIL_CHARACTERS),
                "labels": dict(labels),
            },
        },
    }
