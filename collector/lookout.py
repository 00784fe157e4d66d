"""The lookout: watches every target that sources name, alone or together with the other collectors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import aiohttp

from collector.config import Config
from collector.discover import Roster, sources_of
from collector.event import FOUND, Change, ChangeKind
from collector.scrape import watch
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from collector.store.request import RequestStore
from collector.store.roster import RosterStore
from collector.target import Target

SHARE_SECONDS = 5.0
"""How soon collectors that share targets know of each other."""


async def look_out(config: Config, database: Database, fleet: FleetStore, name: str, now: Callable[[], datetime]) -> None:
    """Until cancelled. ``name`` is this collector's."""
    store, listen = RosterStore(database), config.listen

    async def deployed(target: Target, before: str) -> None:
        await fleet.write_change(
            Change(
                at=now(),
                kind=ChangeKind.DEPLOY,
                source=FOUND,
                replica=target.replica_name,
                model=target.model,
                detail={"revision": str(target.revision), "before": before},
            )
        )

    roster = Roster(
        config.targets,
        lambda target: watch(
            target, config, fleet, calls=RequestStore(database, Dictionary(database)), known=lambda: roster.known
        ),
        lambda target: store.forget(target.replica_name, now()),
        deployed,
        own=(listen.web, listen.alerter, listen.otlp_http, listen.otlp_grpc),
        me=name,
    )
    collectors = (lambda: store.collectors(now())) if config.discovery.shared else None
    async with aiohttp.ClientSession() as session:
        await roster.run(sources_of(config.discovery, session), collectors, share_seconds=SHARE_SECONDS)
