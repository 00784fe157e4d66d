"""What a notifier is given, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

GROUP_BY = ("alertname", "cluster", "environment", "model")
"""Labels that make alerts one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One alert as it was when it flipped. ``fingerprint`` and ``starts_at`` stay the same from firing to resolved."""

    fingerprint: str
    status: str
    """``firing`` or ``resolved``."""
    starts_at: datetime
    ends_at: datetime | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    raised_at: datetime | None = None
    """When it rose from a ticket to a page: the label set with the lower severity was over then."""

    @property
    def group_labels(self) -> dict[str, str]:
        """Labels of the group that it is told in."""
        return {name: self.labels[name] for name in GROUP_BY if name in self.labels}


class Delivered(NamedTuple):
    """The sink has taken it."""


class Retry(NamedTuple):
    """The sink could not be reached or asks to wait: why, and for how long it asks [s]."""

    error: str
    after_seconds: float | None = None


class Refused(NamedTuple):
    """The sink will never take it as it is."""

    error: str


Answer = Delivered | Retry | Refused


class Notifier(Protocol):
    """A way to tell people: one sink."""

    @property
    def name(self) -> str:
        """Name of the sink, in the outbox and in logs."""

    @property
    def timeout_seconds(self) -> float:
        """How long one ``send`` may take [s]."""

    @property
    def resend_seconds(self) -> float | None:
        """How often a sink that forgets wants to hear of what still fires [s]; ``None`` for one that is told once."""

    def messages(self, notifications: Sequence[Notification]) -> list[list[Notification]]:
        """What is sent together."""

    async def send(self, message: Sequence[Notification]) -> Answer:
        """Send one message. Never raises for what a sink does."""


def common(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The names that have the same value in every mapping."""
    first, *others = parts
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def grouped(notifications: Sequence[Notification]) -> list[list[Notification]]:
    """Notifications by group, in the order of their first one."""
    groups: dict[tuple[tuple[str, str], ...], list[Notification]] = {}
    for notification in notifications:
        groups.setdefault(tuple(sorted(notification.group_labels.items())), []).append(notification)
    return list(groups.values())
