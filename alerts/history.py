"""The History: what is kept of an alert, of what was told of it, and of what happened around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple


class Past(NamedTuple):
    """One alert as it is now, or was when it ended."""

    fingerprint: str
    name: str
    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime | None
    ends_at: datetime | None
    muted: bool
    """Whether a mute holds something of it back."""

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        return self.annotations.get("summary", self.name)


class Turn(NamedTuple):
    """One recorded change of an alert."""

    at: datetime
    from_state: str
    to_state: str
    reason: str


class Telling(NamedTuple):
    """One notification to one sink, and what became of it."""

    sink: str
    status: str
    revision: int
    created_at: datetime
    delivered_at: datetime | None
    failed_at: datetime | None
    attempts: int
    last_error: str | None
    muted_by: int | None
    released_at: datetime | None

    @property
    def outcome(self) -> str:
        """``delivered``, ``muted``, ``refused`` or ``waiting``."""
        if self.delivered_at is not None:
            return "delivered"
        if self.muted_by is not None and self.released_at is None:
            return "muted"
        return "waiting" if self.failed_at is None else "refused"


class Whole(NamedTuple):
    """One alert with everything that is kept of it."""

    alert: Past
    turns: Sequence[Turn]
    tellings: Sequence[Telling]


class Entry(NamedTuple):
    """One line of a timeline."""

    at: datetime
    what: str
    """``alert``, ``told``, ``not told``, ``mute``, ``event`` or ``change``."""
    about: str
    text: str
