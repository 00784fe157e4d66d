from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from psycopg import AsyncConnection

from collector.config import DATABASE_URL, Retention
from collector.reads.storage import Disk, last_day, storage
from collector.rollup import roll
from collector.schema import metadata
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore
from llm_slo import main
from tests.collector.example import judged, now, request

_EVENING = datetime(2026, 11, 24, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        ({"20261124": 700, "20261123": 500, "20261125": 100}, 600 + 400 / 4),
        ({"20261124": 700}, 700),
        ({"20261123": 500, "20261120": 9000}, 125),
        ({"20261124": 100, "20261123": 100, "20261125": 100}, 0),
        ({}, 0),
    ],
)
def test_the_last_day_is_today_and_the_rest_of_yesterday(partitions: dict[str, int], expected: float) -> None:
    assert expected == last_day(partitions, _EVENING)


@pytest.mark.parametrize(("a_day", "kept", "expected"), [(10, 14, 140), (0, 14, 0), (10, None, None), (None, None, 5)])
def test_what_is_expected_is_what_is_kept_at_todays_rate(a_day: int | None, kept: int | None, expected: int | None) -> None:
    assert expected == Disk("a", 5, a_day, kept).expected_bytes


async def test_every_table_is_told_with_what_postgres_says_of_it(connected: Database, look: AsyncConnection[Any]) -> None:
    start = now() - timedelta(minutes=30)
    requests = [request(number, start + timedelta(seconds=number)) for number in range(1200)]
    await RequestStore(connected, Dictionary(connected)).write(judged(requests), now())
    for _ in range(4):
        await roll(connected, now())
    found = {disk.table: disk for disk in await storage(look, now(), Retention())}
    assert metadata.tables.keys() == found.keys()
    cursor = await look.execute(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relname ~ '^requests(_[0-9]{8})?$' AND relkind IN ('r', 'p')"
    )
    assert [(found["requests"].bytes,)] == await cursor.fetchall()
    assert (100, 14) == (found["requests"].kept_days, found["rollup_minute"].kept_days)
    # All of it came today, or yesterday where midnight lies in between.
    minutes = found["rollup_minute"]
    assert minutes.bytes == minutes.bytes_a_day
    assert 0 < (found["requests"].bytes_a_day or 0) <= found["requests"].bytes
    assert (None, None) == (found["tenants"].bytes_a_day, found["tenants"].kept_days)
    assert list(found.values()) == sorted(found.values(), key=lambda disk: (-disk.bytes, disk.table))


def test_verb_says_it_as_a_table_and_as_json(database: str) -> None:
    table = CliRunner().invoke(main, ["check", "--storage"], env={DATABASE_URL: database})
    assert 0 == table.exit_code
    lines = [line.split() for line in table.stdout.splitlines()]
    assert (["table", "now", "a", "day", "kept", "at", "today's", "rate"], "all") == (lines[0], lines[-1][0])
    assert {*metadata.tables} == {line[0] for line in lines[1:-1]}
    objects = CliRunner().invoke(main, ["check", "--storage", "--json"], env={DATABASE_URL: database})
    told = [json.loads(line) for line in objects.stdout.splitlines()]
    assert {*metadata.tables} == {disk["table"] for disk in told}
    assert {"table", "bytes", "bytes_a_day", "kept_days", "expected_bytes"} == told[0].keys()


@pytest.mark.parametrize("flags", [(), ("--targets", "--storage")])
def test_verb_is_told_what_to_check(flags: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, ["check", *flags])
    assert (2, True) == (shown.exit_code, "say what to check: --targets or --storage" in shown.stderr)
