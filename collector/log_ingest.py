"""The way of a log record from decoded body to committed event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from collector import telemetry
from collector.death import Crash, Mark, see_all
from collector.errors import Overloaded
from collector.event import Event
from collector.otlp.allow import Receipt
from collector.otlp.log import DecodedLogs, Source
from collector.store.fleet import FleetStore

MOST_REPLICAS = 1000
"""Replicas whose trouble is remembered; the one that was quiet for longest is forgotten first."""


class LogIngest:
    """What the receivers hand decoded logs to. Remembers what was told of each replica's crash, so that it is told once."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._crashes: dict[str, Crash] = {}
        # What was told counts as told only once it is committed: of two bodies of one crash, the second waits.
        self._lock = asyncio.Lock()

    async def __call__(self, decoded: DecodedLogs) -> Receipt:
        """Return once every event is committed.

        :raises Overloaded: when nothing was taken, and the sender must keep the data
        """
        records = decoded.facts + decoded.ignored + len(decoded.rejects)
        if decoded.marks:
            try:
                async with self._lock:
                    await self._keep(decoded.marks)
            except Overloaded:
                telemetry.LOG_RECORDS_REFUSED.inc(records)
                raise
        telemetry.LOG_RECORDS_RECEIVED.inc(records)
        telemetry.LOG_RECORDS_FACTS.inc(decoded.facts)
        telemetry.LOG_RECORDS_IGNORED.inc(decoded.ignored)
        for reject in decoded.rejects:
            telemetry.LOG_RECORDS_REJECTED.labels(reject.reason.value).inc()
        return Receipt(())

    async def _keep(self, marks: Mapping[Source, Sequence[Mark]]) -> None:
        seen: dict[str, Crash | None] = {}
        events = []
        for source, said in marks.items():
            known = seen[source.replica] if source.replica in seen else self._crashes.get(source.replica)
            seen[source.replica], deaths = see_all(known, said)
            events += [
                Event(at=death.at, kind=death.kind, replica=source.replica, model=source.model, detail=death.detail)
                for death in deaths
            ]
        if events:
            await self._store.write_events(events)
        for replica, crash in seen.items():
            self._crashes.pop(replica, None)
            if crash is not None:
                self._crashes[replica] = crash
        while len(self._crashes) > MOST_REPLICAS:
            del self._crashes[next(iter(self._crashes))]
