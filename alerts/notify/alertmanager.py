"""Prometheus Alertmanager, by its API v2.

Alertmanager knows an alert by all its labels, the severity included, and forgets it at its ``endsAt``. So what fires is sent
again and again with an end in the near future, and an alert that rose to a page is two alerts there: the ticket, which is over,
and the page, which began when the ticket did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import aiohttp

from alerts.alert import Severity
from alerts.notify.notification import Answer, Notification
from alerts.notify.post import post, rfc3339
from collector.sink import Alertmanager

RESEND_SECONDS = 60.0
"""How often what fires is sent again [s]."""
LIFETIME = timedelta(seconds=4 * RESEND_SECONDS)
"""How long an alert fires there after it was last sent: three resends may fail before it is taken to be over."""
MESSAGE_ALERTS = 64

_URL = re.compile(
    r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?"
    r"(/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
"""URLs that are beyond doubt: one that Alertmanager doubts costs the whole message (422)."""


class AlertmanagerNotifier:
    """One member. ``url`` names us where an alert has no board; ``now`` is the time of sending; ``ticket`` is the label
    ``severity`` of a ticket."""

    resend_seconds = RESEND_SECONDS

    def __init__(
        self,
        member: Alertmanager,
        session: aiohttp.ClientSession,
        *,
        url: str,
        now: Callable[[], datetime],
        ticket: str = Severity.TICKET.value,
    ) -> None:
        self.name = member.name
        self.timeout_seconds = member.timeout_seconds
        self._endpoint = f"{member.url.rstrip('/')}/api/v2/alerts"
        self._session = session
        self._url = url
        self._now = now
        self._ticket = ticket

    def messages(self, notifications: Sequence[Notification]) -> list[list[Notification]]:
        """Any alerts go together: Alertmanager makes the groups."""
        return [list(notifications[at : at + MESSAGE_ALERTS]) for at in range(0, len(notifications), MESSAGE_ALERTS)]

    async def send(self, message: Sequence[Notification]) -> Answer:
        """POST alerts. Never raises for what a sink does. Of a message that is refused the valid alerts were taken."""
        body = payload(message, self._url, self._now(), self._ticket)
        return await post(self._session, self._endpoint, body, self.timeout_seconds)


def payload(
    message: Sequence[Notification], url: str, now: datetime, ticket: str = Severity.TICKET.value
) -> list[dict[str, object]]:
    """The body of one POST. ``ticket`` is the label ``severity`` of a ticket."""
    return [alert for notification in message for alert in _alerts(notification, url, now, ticket)]


def _alerts(notification: Notification, url: str, now: datetime, ticket: str) -> Iterator[dict[str, object]]:
    yield _alert(notification, notification.labels, notification.ends_at or now + LIFETIME, url)
    if notification.raised_at is not None:
        yield _alert(notification, {**notification.labels, "severity": ticket}, notification.raised_at, url)


def _alert(notification: Notification, labels: Mapping[str, str], ends_at: datetime, url: str) -> dict[str, object]:
    source = next((one for one in (notification.annotations.get("board_url", ""), url) if _URL.fullmatch(one)), None)
    return {
        "labels": dict(labels),
        "annotations": dict(notification.annotations),
        "startsAt": rfc3339(notification.starts_at),
        # A clock that was set back must not make an alert that ends before it starts: that one would be refused.
        "endsAt": rfc3339(max(ends_at, notification.starts_at)),
        **({} if source is None else {"generatorURL": source}),
    }
