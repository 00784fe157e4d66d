"""Configurations that an engine tells of itself, from scrape to the row that explains a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from collector import metrics
from collector.event import EventKind
from collector.replica import ReplicaState, Seen, see_scrape
from collector.sample import Snapshot
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from tests.collector.example import now, rows

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
NEW = ReplicaState(
    replica="vllm-0", url="http://vllm:8000", environment="production", cluster="default", health_since=START, checked_at=START
)
CONFIG = {"block_size": "16", "num_gpu_blocks": "8192"}


def snapshot(config: Mapping[str, str], booted: datetime, engine: str = "0") -> Snapshot:
    return Snapshot(
        scraped_at=START,
        replica="vllm-0",
        engine=engine,
        model="llama",
        values={metrics.REQUESTS_RUNNING: 0.0},
        histograms={},
        config=config,
        process_started_at=booted,
    )


def scrapes(*configs: Mapping[str, str], at: datetime = START) -> list[Seen]:
    """One scrape a minute, each of a process that has just started."""
    state, seen = NEW, []
    for minute, config in enumerate(configs):
        scraped_at = at + timedelta(minutes=minute)
        seen.append(see_scrape(state, [snapshot(config, scraped_at), snapshot(config, scraped_at, "1")], scraped_at))
        state = seen[-1].state
    return seen


def details(seen: list[Seen]) -> list[list[dict[str, str]]]:
    return [[event.detail for event in one.events if event.kind is EventKind.CONFIG_CHANGED] for one in seen]


def test_a_new_configuration_is_found_once_for_all_engines_of_a_page() -> None:
    other = CONFIG | {"block_size": "32"}

    assert [[], [{"block_size": "16 → 32"}], []] == details(scrapes(CONFIG, other, other))


def test_the_same_configuration_with_a_little_other_memory_is_none() -> None:
    assert [[], []] == details(scrapes(CONFIG, CONFIG | {"num_gpu_blocks": "8190"}))


def test_a_page_that_does_not_tell_it_changes_nothing() -> None:
    assert [[], [], [{"block_size": "16 → 32"}]] == details(scrapes(CONFIG, {}, CONFIG | {"block_size": "32"}))


async def test_a_new_configuration_is_kept_as_a_change_beside_the_restart(
    connected: Database, look: AsyncConnection[Any]
) -> None:
    at = now()
    first, second = scrapes(CONFIG, CONFIG | {"block_size": "32"}, at=at - timedelta(minutes=1))
    store = FleetStore(connected, Dictionary(connected))
    for seen in (first, second):
        await store.write(replace(seen.state, health_since=at, checked_at=at), seen.events, ())
    detail = {"started_at": at.isoformat()}

    assert [("config", "found", {"block_size": "16 → 32"}), ("restart", "found", detail)] == await rows(
        look, "changes", "kind, source, detail"
    )
