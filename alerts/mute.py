"""The Mute: alerts that direct sinks are not told of for a while. They are evaluated and recorded all the same. Pure.

Alertmanager has silences of its own, and is told of everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

LONGEST = timedelta(days=30)
"""A mute that lasts for longer is a decision about an SLO or a symptom, and belongs there."""
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d+[dhms])+")


class Mute(NamedTuple):
    """One mute. ``matchers`` are labels that an alert has to have, all of them, with exactly these values."""

    id: int
    matchers: Mapping[str, str]
    author: str
    reason: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None

    def state(self, now: datetime) -> str:
        """``active``, ``ended`` by somebody, or ``expired``."""
        if self.ended_at is not None and self.ended_at < self.expires_at:
            return "ended"
        return "active" if now < self.expires_at else "expired"


def parse_matchers(texts: Iterable[str]) -> dict[str, str]:
    """Labels from ``NAME=VALUE``.

    :raises ValueError: saying what was expected
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{text!r} is not NAME=VALUE")
        if found.setdefault(name, value) != value:
            raise ValueError(f"no alert has both {name}={found[name]} and {name}={value}")
    return found


def parse_duration(text: str) -> timedelta:
    """A length of time such as ``2h``, ``1h30m`` or ``7d``, of 30 days at most.

    :raises ValueError: saying what was expected
    """
    if not _DURATION.fullmatch(text) or len(text) > 20:
        raise ValueError(f"{text!r} is no length of time; expected 30m, 2h, 1h30m or 7d")
    seconds = sum(int(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+[dhms]", text))
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ValueError(f"{text!r} is out of range: more than nothing, and {LONGEST.days}d at most")
    return timedelta(seconds=seconds)
