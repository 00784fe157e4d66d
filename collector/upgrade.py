"""An engine's version, and the metrics that a new version no longer has. Pure.

A metric that is gone is told of only some time after the version changed: engines make many a series when it is first needed,
and until then lack it. One that was renamed is not gone, because both names are known.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime, timedelta
from typing import NamedTuple

from collector.event import Change, ChangeKind, Event, EventKind
from collector.metrics import Family

SETTLED = timedelta(minutes=10)
"""How long a new version may take to show what it has."""


class Known(NamedTuple):
    """What is known of a replica's version. ``families`` are all that it has shown."""

    version: str | None = None
    families: frozenset[Family] = frozenset()
    before: Known | None = None
    """The version before it, while the new one is not settled."""
    changed_at: datetime | None = None


def see_version(
    known: Known, version: str | None, replica: str, model: str | None, at: datetime
) -> tuple[Known, Change | None]:
    """A replica tells its version; ``None`` where it does not."""
    if version is None or version == known.version:
        return known, None
    if known.version is None:
        return known._replace(version=version), None
    detail = {"from": known.version, "to": version}
    change = Change(at=at, kind=ChangeKind.VERSION, source="found", replica=replica, model=model, detail=detail)
    return Known(version, frozenset(), known._replace(before=None), at), change


def see_families(
    known: Known, families: Set[Family], replica: str, model: str | None, at: datetime
) -> tuple[Known, Event | None]:
    """A page shows what it has."""
    known = known._replace(families=known.families | families)
    if known.before is None or known.changed_at is None or at - known.changed_at < SETTLED:
        return known, None
    gone = sorted(family.name for family in known.before.families - known.families)
    settled = known._replace(before=None, changed_at=None)
    if not gone:
        return settled, None
    detail = {"metrics": ", ".join(gone), "from": known.before.version or "", "to": known.version or ""}
    return settled, Event(at=at, kind=EventKind.METRICS_GONE, replica=replica, model=model, detail=detail)
