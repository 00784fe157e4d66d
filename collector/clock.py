"""The clock, at the edge: all else is told the time."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)
