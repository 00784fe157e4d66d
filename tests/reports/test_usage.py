"""The verb, on a database of its own: what it prints adds up to the rows."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from click.testing import CliRunner, Result

from collector.config import DATABASE_URL, READ_DATABASE_URL
from collector.request import ObservedBy, Outcome, TokenProvenance, TrafficClass
from collector.rollup import coarsen, roll
from collector.rollup.age import day_of
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore
from llm_slo import main
from tests.collector.example import judged, now, request
from tests.conftest import Databases

DAY = day_of(now()) - timedelta(days=2)


async def _fill(conninfo: str) -> None:
    dice = random.Random(6)
    requests = [
        request(
            number,
            DAY + timedelta(hours=36) * dice.random(),
            tenant=dice.choice(["acme", "globex"]),
            requested_model=dice.choice(["tiny", "large"]),
            outcome=dice.choice([Outcome.OK, Outcome.OK, Outcome.TIMEOUT, Outcome.RATE_LIMIT]),
            observed_by=dice.choice([ObservedBy.GATEWAY, ObservedBy.GATEWAY, ObservedBy.CLIENT, ObservedBy.ENGINE]),
            traffic_class=dice.choice([TrafficClass.INTERACTIVE, TrafficClass.BATCH, TrafficClass.SYNTHETIC]),
            token_provenance=dice.choice([TokenProvenance.REPORTED, TokenProvenance.ESTIMATED]),
            retries=dice.choice([None, 2]),
            output_tokens=dice.choice([None, 5, 500]),
            reasoning_tokens=dice.choice([None, 3]),
        )
        for number in range(400)
    ]
    async with Database(conninfo, application="test") as database:
        await RequestStore(database, Dictionary(database)).write(judged(requests), now())
        for number in range(15):
            await roll(database, DAY + timedelta(hours=37, seconds=40 * number))
            await coarsen(database, DAY + timedelta(hours=37, seconds=40 * number))


@pytest.fixture(scope="module")
def filled(databases: Databases) -> Iterator[str]:
    with databases.fresh() as conninfo:
        asyncio.run(_fill(conninfo))
        yield conninfo


def run(conninfo: str, *arguments: str, variable: str = DATABASE_URL) -> Result:
    return CliRunner().invoke(main, ["usage", *arguments], env={variable: conninfo, "COLUMNS": "300"})


def rows_of(conninfo: str, where: str = "true") -> tuple[int, ...]:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "SELECT count(*), sum(input_tokens), sum(cached_tokens), coalesce(sum(output_tokens), 0),"
            " coalesce(sum(reasoning_tokens), 0), sum(input_tokens) FILTER (WHERE billing_flags & 4 <> 0),"
            " coalesce(sum(output_tokens) FILTER (WHERE billing_flags & 4 <> 0), 0),"
            " count(*) FILTER (WHERE output_tokens IS NULL)"
            " FROM requests JOIN tenants ON tenants.id = tenant_id JOIN models ON models.id = model_id"
            f" WHERE observed_by = 1 AND traffic_class <> 3 AND {where}"
        ).fetchone()
    assert row is not None
    return row


NUMBERS = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated_input_tokens",
    "estimated_output_tokens",
    "requests_without_tokens",
)
WHOLE = ("--from", f"{DAY:%Y-%m-%d}", "--to", f"{DAY + timedelta(days=2):%Y-%m-%d}")


def test_total_equals_the_rows(filled: str) -> None:
    answer = json.loads(run(filled, *WHOLE, "--format", "json").stdout)
    assert rows_of(filled) == tuple(answer["total"][name] for name in NUMBERS)
    assert answer["total"]["requests"] == sum(answer["total"]["outcomes"].values())
    with psycopg.connect(filled) as connection:
        outcomes = connection.execute(
            "SELECT outcome, count(*) FROM requests WHERE observed_by = 1 AND traffic_class <> 3 GROUP BY 1"
        ).fetchall()
    assert {Outcome(outcome).name.lower(): count for outcome, count in outcomes} == answer["total"]["outcomes"]


def test_each_line_equals_its_rows(filled: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    arguments = ("--by", "tenant", "--by", "model", "--by", "day", "--timezone", zone.key, "--format", "json")
    answer = json.loads(run(filled, *WHOLE, *arguments).stdout)
    start, end = (datetime.fromisoformat(answer[edge]) for edge in ("from", "to"))
    assert (DAY.replace(tzinfo=zone), (DAY + timedelta(days=2)).replace(tzinfo=zone)) == (start, end)
    assert 8 == len(answer["used"])
    for line in answer["used"]:
        day = datetime.fromisoformat(line["period"]).replace(tzinfo=zone)
        following = (day.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        where = f"tenants.name = '{line['tenant']}' AND models.name = '{line['model']}'"
        within = f"ended_at >= '{day.isoformat()}' AND ended_at < '{following.isoformat()}'"
        assert rows_of(filled, f"{where} AND {within}") == tuple(line[name] for name in NUMBERS)


@pytest.mark.parametrize("cut", ["hour", "day", "month", "tenant", "model"])
def test_lines_add_up_however_they_are_cut(filled: str, cut: str) -> None:
    lines = list(csv.DictReader(io.StringIO(run(filled, *WHOLE, "--by", cut, "--format", "csv").stdout)))
    assert rows_of(filled) == tuple(sum(int(line[name]) for line in lines) for name in NUMBERS)
    assert rows_of(filled)[0] == sum(int(line[outcome.name.lower()]) for line in lines for outcome in Outcome)


def test_one_tenant_and_one_model_are_told_alone(filled: str) -> None:
    answer = json.loads(run(filled, *WHOLE, "--tenant", "acme", "--model", "tiny", "--format", "json").stdout)
    assert ["acme"] == [line["tenant"] for line in answer["used"]]
    acme = rows_of(filled, "tenants.name = 'acme' AND models.name = 'tiny'")
    assert acme == tuple(answer["used"][0][name] for name in NUMBERS)


def test_table_says_the_totals_too(filled: str) -> None:
    shown = run(filled, *WHOLE)
    assert 0 == shown.exit_code
    assert {"acme", "globex"} <= set(shown.stdout.split())
    assert f"{rows_of(filled)[1]:,}" in shown.stdout


def test_a_copy_of_the_database_is_asked_where_one_is_configured(filled: str) -> None:
    assert 0 == run(filled, *WHOLE, variable=READ_DATABASE_URL).exit_code


def test_a_period_without_data_says_so_and_where_the_data_is(filled: str) -> None:
    shown = run(filled, "--from", f"{DAY - timedelta(days=9):%Y-%m-%d}", "--to", f"{DAY:%Y-%m-%d}")
    assert (0, "") == (shown.exit_code, shown.stdout)
    assert f"as the gateway saw them; the first after it begins at {DAY:%Y-%m-%d}T00:0" in shown.stderr
    later = run(filled, "--from", f"{DAY + timedelta(days=2):%Y-%m-%d}", "--to", f"{DAY + timedelta(days=3):%Y-%m-%d}")
    assert "the last before it ends at" in later.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tenant", "acne"), "there is no tenant 'acne'; the nearest is 'acme'"),
        (("--model", "smal"), "there is no model 'smal'; the nearest is"),
        (("--timezone", "Europe/Berlim"), "is no time zone"),
        (("--from", "2026-11-02", "--to", "2026-11-01"), "is not before --to"),
        (("--from", "2014-01-01T00:07", "--to", "2015-01-01"), "no longer kept that finely"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_was_expected(
    filled: str, arguments: tuple[str, ...], message: str
) -> None:
    shown = run(filled, *arguments)
    assert (2, "") == (shown.exit_code, shown.stdout)
    assert message in shown.stderr


def test_a_database_that_was_never_migrated_is_named(empty_database: str) -> None:
    shown = run(empty_database, *WHOLE)
    assert 2 == shown.exit_code
    assert "not at the schema of this llm-slo" in shown.stderr


def test_a_database_that_cannot_be_reached_is_named() -> None:
    shown = run("postgresql://127.0.0.1:1/none", *WHOLE)
    assert 1 == shown.exit_code
    assert "the database cannot be reached" in shown.stderr
