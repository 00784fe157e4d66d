"""A generic webhook: Alertmanager's payload, version 4."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import aiohttp

from alerts.notify.notification import Answer, Delivered, Notification, Refused, Retry, common
from collector.config import Webhook

_NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time: how Alertmanager writes that an alert has not ended."""
_ASKS_TO_WAIT = frozenset({408, 425, 429})


class WebhookNotifier:
    """One sink. ``url`` is what the payload names as its source."""

    def __init__(self, webhook: Webhook, session: aiohttp.ClientSession, *, url: str) -> None:
        self.name = webhook.name
        self.timeout_seconds = webhook.timeout_seconds
        self._webhook = webhook
        self._session = session
        self._url = url

    async def send(self, group: Sequence[Notification]) -> Answer:
        """POST alerts of one group. Never raises for what a sink does."""
        try:
            async with self._session.post(
                self._webhook.url,
                json=payload(group, self._webhook.name, self._url),
                timeout=aiohttp.ClientTimeout(total=self._webhook.timeout_seconds),
                # A redirect would carry a page to a place that nobody configured.
                allow_redirects=False,
            ) as response:
                return _judge(response)
        except TimeoutError:
            return Retry(f"no answer within {self._webhook.timeout_seconds:g} s")
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            return Refused(f"{type(error).__name__}: {self._webhook.url}")
        except (aiohttp.ClientError, OSError) as error:
            return Retry(f"{type(error).__name__}: {error}")


def _judge(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Delivered()
    if status >= 500 or status in _ASKS_TO_WAIT:
        after = response.headers.get("Retry-After", "")
        return Retry(f"HTTP {status}", float(after) if after.isdigit() else None)
    return Refused(f"HTTP {status}")


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


def rfc3339(time: datetime) -> str:
    """A time in UTC with microseconds and a Z."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
