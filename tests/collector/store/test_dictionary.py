from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY
from psycopg import AsyncConnection
from sqlalchemy import Table

from collector import schema
from collector.schema import UNKNOWN
from collector.store.connection import Database
from collector.store.dictionary import FOLDED_MINUTES, MOST_NEW_MODELS, MOST_NEW_NAMES, MOST_NEW_TENANTS, Dictionary
from collector.store.request import RequestStore, Written
from tests.collector.example import judged, now, request, rows


async def test_names_get_ids_once_whoever_asks_first(connected: Database, look: AsyncConnection[Any]) -> None:
    names = [(f"tenant-{number}",) for number in range(30)]
    dictionaries = [Dictionary(connected) for _ in range(4)]
    await asyncio.gather(*(one.allocate({schema.tenants: names, schema.models: [("tiny",)]}) for one in dictionaries))
    ids = [[one.id(schema.tenants, *name) for name in names] for one in dictionaries]
    assert ids[0] == ids[1] == ids[2] == ids[3]
    assert 30 == len(set(ids[0]))
    assert [(30,)] == await rows(look, "tenants", "count(*) - 2")


async def test_missing_name_is_unknown(connected: Database) -> None:
    assert UNKNOWN == Dictionary(connected).id(schema.replicas, None)


async def test_entry_of_several_columns_is_told_apart_by_all_of_them(connected: Database) -> None:
    dictionary = Dictionary(connected)
    await dictionary.allocate({schema.producers: [("gen_ai", "scope", "1"), ("gen_ai", "scope", "2")]})
    assert dictionary.id(schema.producers, "gen_ai", "scope", "1") != dictionary.id(schema.producers, "gen_ai", "scope", "2")


@pytest.mark.parametrize(
    ("table", "most", "folded_minutes"),
    [(schema.models, MOST_NEW_MODELS, 1), (schema.tenants, MOST_NEW_TENANTS, FOLDED_MINUTES)],
    ids=["models", "tenants"],
)
async def test_flood_of_names_is_folded_into_other_and_counted(
    connected: Database, table: Table, most: int, folded_minutes: int
) -> None:
    seconds, before = 0.0, folded(table)
    dictionary = Dictionary(connected, clock=lambda: seconds)
    flood = [(f"name-{number:04}",) for number in range(most + 5)]
    await dictionary.allocate({table: flood})
    other = dictionary.id(table, "other")
    assert 5 == sum(dictionary.id(table, *name) == other for name in flood)
    assert 5 == folded(table) - before
    seconds = 60.0 * folded_minutes - 1
    await dictionary.allocate({table: flood})
    assert 5 == sum(dictionary.id(table, *name) == other for name in flood)
    seconds += 1
    await dictionary.allocate({table: flood})
    assert 0 == sum(dictionary.id(table, *name) == other for name in flood)
    assert 5 == folded(table) - before


async def test_names_that_the_database_knows_are_not_new(connected: Database) -> None:
    known = [(f"tenant-{number:04}",) for number in range(MOST_NEW_TENANTS + 5)]
    await Dictionary(connected, most_new_tenants=None).allocate({schema.tenants: known})
    restarted = Dictionary(connected)
    await restarted.allocate({schema.tenants: known})
    assert len(known) == len({restarted.id(schema.tenants, *name) for name in known})


async def test_name_that_an_operator_chose_is_never_folded(connected: Database) -> None:
    dictionary = Dictionary(connected, most_new_tenants=1)
    await dictionary.allocate({schema.tenants: [("a",), ("b",)]})
    assert dictionary.id(schema.tenants, "b") == dictionary.id(schema.tenants, "other")
    await dictionary.allocate({schema.tenants: [("b",)]}, rationed=False)
    assert dictionary.id(schema.tenants, "b") != dictionary.id(schema.tenants, "other")


async def test_flood_of_streams_is_folded_into_one_of_no_objective(connected: Database, look: AsyncConnection[Any]) -> None:
    dictionary = Dictionary(connected)
    flood = [("objective", f'{{"model":"{number}"}}') for number in range(MOST_NEW_NAMES + 1)]
    await dictionary.allocate({schema.streams: flood})
    assert dictionary.id(schema.streams, "other", "{}") in {dictionary.id(schema.streams, *name) for name in flood}
    assert MOST_NEW_NAMES + 1 == len(await rows(look, "streams"))


async def test_row_of_a_folded_tenant_is_kept_once(connected: Database, look: AsyncConnection[Any]) -> None:
    seconds, at = 0.0, now()
    dictionary = Dictionary(connected, clock=lambda: seconds, most_new_tenants=1)
    store = RequestStore(connected, dictionary)
    batch = judged([request(number, at, tenant=f"tenant-{number}") for number in range(3)])
    assert (3, 0) == written(await store.write(batch, at))
    seconds = 60.0
    assert (0, 3) == written(await store.write(batch, at))
    cursor = await look.execute("SELECT name FROM requests JOIN tenants ON id = tenant_id ORDER BY 1")
    assert [("other",), ("other",), ("tenant-0",)] == await cursor.fetchall()


def written(one: Written) -> tuple[int, int]:
    return one.rows.total(), one.duplicates


def folded(table: Table) -> float:
    return REGISTRY.get_sample_value("llm_slo_names_folded_total", {"kind": table.name}) or 0
