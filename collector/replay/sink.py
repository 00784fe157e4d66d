"""Where a file's requests and events go: into a database, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from collector.batch import LARGEST_BATCH
from collector.event import Event
from collector.objective import Objective, judge
from collector.request import Request
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from collector.store.request import Judged, RequestStore


class Sink(Protocol):
    """Takes what was read. Nothing is given to it twice in one call."""

    async def keep(self, requests: Sequence[Request], now: datetime) -> int:
        """Take requests; how many of them are new."""
        ...

    async def tell(self, events: Sequence[Event]) -> int:
        """Take events; how many of them are new."""
        ...


class Nowhere:
    """Remembers nothing, so everything is new."""

    async def keep(self, requests: Sequence[Request], now: datetime) -> int:
        """Take requests; all of them are new."""
        return len(requests)

    async def tell(self, events: Sequence[Event]) -> int:
        """Take events; all of them are new."""
        return len(events)


class Kept:
    """A migrated database. What is there already is left as it is.

    Both raise StoreUnavailable when Postgres did not commit; batches before that are there, and the next replay finds them.
    """

    def __init__(self, database: Database, objectives: Sequence[Objective]) -> None:
        # Whoever replays chose the file: names are not rationed as those of unknown senders are.
        dictionary = Dictionary(database, most_new_tenants=None)
        self._requests = RequestStore(database, dictionary)
        self._fleet = FleetStore(database, dictionary)
        self._objectives = tuple(objectives)

    async def register(self, now: datetime) -> None:
        """Make the objectives known, before anything is kept.

        :raises StoreUnavailable: when Postgres did not commit
        """
        await self._requests.register(self._objectives, now)

    async def keep(self, requests: Sequence[Request], now: datetime) -> int:
        """Commit requests; how many of them are new."""
        ordered = sorted(requests, key=lambda request: request.ended_at)
        new = 0
        for start in range(0, len(ordered), LARGEST_BATCH):
            batch = [Judged(request, judge(request, self._objectives)) for request in ordered[start : start + LARGEST_BATCH]]
            new += (await self._requests.write(batch, now)).rows.total()
        return new

    async def tell(self, events: Sequence[Event]) -> int:
        """Commit events; how many of them are new."""
        return await self._fleet.write_new_events(events) if events else 0
