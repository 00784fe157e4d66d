from __future__ import annotations

import asyncio
from typing import Any

from psycopg import AsyncConnection

from collector import schema
from collector.schema import UNKNOWN
from collector.store.connection import Database
from collector.store.dictionary import MOST_NEW_MODELS, Dictionary
from tests.collector.example import rows


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


async def test_flood_of_model_names_is_folded_into_other_until_the_next_minute(connected: Database) -> None:
    seconds = 0.0
    dictionary = Dictionary(connected, clock=lambda: seconds)
    flood = [(f"model-{number:03}",) for number in range(MOST_NEW_MODELS + 5)]
    await dictionary.allocate({schema.models: flood})
    other = dictionary.id(schema.models, "other")
    assert 5 == sum(dictionary.id(schema.models, *name) == other for name in flood)
    seconds = 61.0
    await dictionary.allocate({schema.models: flood})
    assert 0 == sum(dictionary.id(schema.models, *name) == other for name in flood)
