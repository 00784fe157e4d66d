"""Every query of every board, as Grafana sends it, on a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.dashboards.conftest import Shown
from tests.dashboards.fleet import MODELS, TENANTS
from tests.dashboards.grafana import ALL, Choice, View, all_values, expand, sources

ONE = {"environment": ["production"], "model": ["tiny"], "tenant": ["acme"], "replica": ["tiny-0"]}
MANY = {
    "environment": ["production", "staging"],
    "model": list(MODELS),
    "tenant": list(TENANTS),
    "replica": ["tiny-0", "large-0"],
}
STRANGE = {name: ["'", "x'); DROP TABLE tenants; --", "NULL", ""] for name in ONE}
CHOICES: Mapping[str, Mapping[str, Choice]] = {"all": {}, "one": ONE, "many": MANY, "strange": STRANGE}


@pytest.mark.parametrize("chosen", ["all", "one", "many"])
@pytest.mark.parametrize("minutes", [1, 5])
def test_every_query_returns_rows_in_the_shape_that_its_format_needs(shown_anywhere: Shown, chosen: str, minutes: int) -> None:
    view = shown_anywhere.view(timedelta(minutes=minutes), **CHOICES[chosen])
    for source in sources(shown_anywhere.board):
        rows = shown_anywhere.rows(source, view)
        assert rows, f"{source.where}: no rows"
        assert _problems(rows, source.format) == [], source.where


def test_names_that_nobody_has_run_and_change_nothing(shown: Shown) -> None:
    view = shown.view(**STRANGE)
    for source in sources(shown.board):
        assert _problems(shown.rows(source, view), source.format) == [], source.where
    everyone = shown.rows(shown.source("variable tenant"), view)
    assert {*TENANTS, "unknown"} == {row["name"] for row in everyone}


def test_without_any_data_every_query_runs(database: str, board: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    choices = dict.fromkeys(ONE, ALL) | {"observed_by": "1"}
    view = View(now - timedelta(hours=1), now, timedelta(minutes=1), choices)
    with psycopg.connect(database) as connection:
        for source in sources(board):
            connection.execute(expand(source.sql, view, all_values(board)).encode())


@pytest.mark.parametrize("chosen", ["all", "one", "many"])
def test_no_query_touches_the_rows_of_requests(shown: Shown, chosen: str) -> None:
    view = shown.view(**CHOICES[chosen])
    for source in sources(shown.board):
        for node in _plan(shown, source.sql, view):
            assert not node.get("Relation Name", "").removeprefix("engine_").startswith("requests"), source.where


@pytest.mark.parametrize("chosen", ["all", "one", "many"])
def test_tables_that_grow_are_read_by_their_time(shown: Shown, chosen: str) -> None:
    times = {"rollup_minute": "minute", "slo_minute": "minute", "events": "at"}
    shown.connection.execute("SET enable_seqscan = off")  # The tables of a test are too small for an index to pay.
    view = shown.view(**CHOICES[chosen])
    for source in sources(shown.board):
        for node in _plan(shown, source.sql, view):
            table = node.get("Relation Name", "")
            if table in times:
                assert times[table] in _index_condition(node), f"{source.where}: {node}"


def test_only_partitions_in_the_range_are_read(shown: Shown) -> None:
    view = shown.view()
    days = {f"snapshots_{time:%Y%m%d}" for time in (view.start, view.end)}
    for source in sources(shown.board):
        read = {node["Relation Name"] for node in _plan(shown, source.sql, view) if "Relation Name" in node}
        assert {table for table in read if table.startswith("snapshots")} <= days, source.where


def _problems(rows: list[dict[str, Any]], format: str) -> list[str]:
    if format == "annotation":
        return _annotation_problems(rows)
    return _series_problems(rows) if format == "time_series" else []


def _series_problems(rows: list[dict[str, Any]]) -> list[str]:
    problems, times = [], [row.get("time") for row in rows]
    if not all(isinstance(time, int | float | Decimal) for time in times):
        problems.append("time is not epoch seconds")
    elif times != sorted(times):  # type: ignore[type-var]
        problems.append("time does not ascend")
    seen = set()
    for row in rows:
        labels = {name: value for name, value in row.items() if isinstance(value, str)}
        values = [value for name, value in row.items() if name not in labels and name != "time"]
        if not values or not all(isinstance(value, int | float | Decimal) for value in values if value is not None):
            problems.append(f"not a number in {row}")
        if len(labels) > 1 or None in labels.values():
            problems.append(f"more than one label in {row}")
        if (key := (row["time"], *labels.values())) in seen:
            problems.append(f"two rows for {key}")
        seen.add(key)
    return problems


def _annotation_problems(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"{row}"
        for row in rows
        if row["time"].tzinfo is None or not row["text"] or row.get("timeend", row["time"]) < row["time"] or "tags" not in row
    ]


def _plan(shown: Shown, sql: str, view: View) -> list[dict[str, Any]]:
    """The nodes of a query's plan."""
    text = "EXPLAIN (FORMAT JSON) " + expand(sql, view, all_values(shown.board))
    row = shown.connection.execute(text.encode()).fetchone()
    assert row is not None
    return list(_nodes(row["QUERY PLAN"][0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for part in node.get("Plans", []):
        yield from _nodes(part)


def _index_condition(node: dict[str, Any]) -> str:
    """The index condition of a scan, or of the index scans below a bitmap scan."""
    return " ".join(part.get("Index Cond", "") for part in _nodes(node))
