"""A board over a database that holds the fleet of ``fleet.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import dict_row

from alerts.slo import BUILT_IN, Slo, parse_slos
from collector.request import ObservedBy
from dashboards.board import build
from tests.conftest import Databases, _Servers
from tests.dashboards import fleet, incident
from tests.dashboards.grafana import ALL, Choice, Source, View, all_values, expand, sources

Row = dict[str, Any]


class Shown(NamedTuple):
    """A board, and the data that it looks at."""

    connection: psycopg.Connection[Row]
    board: dict[str, Any]
    slos: Sequence[Slo]
    base: datetime
    calls: Sequence[fleet.Call]
    scrapes: Sequence[fleet.Scrape]

    def view(self, interval: timedelta = timedelta(minutes=5), /, **choices: Choice) -> View:
        """A view that begins and ends within a minute and within a slot, with *All* where nothing is chosen."""
        start, end = self.base + timedelta(seconds=20), self.base + timedelta(minutes=fleet.MINUTES, seconds=-10)
        rest: dict[str, Choice] = {"environment": ALL, "model": ALL, "tenant": ALL, "replica": ALL, "observed_by": "1"}
        return View(start, end, interval, rest | choices)

    def source(self, where: str, format: str | None = None) -> Source:
        """The query of the panel, variable or annotation with this title, and this format where two share the title."""
        [found] = (part for part in sources(self.board) if part.where == where and format in (None, part.format))
        return found

    def rows(self, source: Source, view: View) -> list[Row]:
        """What Postgres answers to a query, after Grafana has expanded it."""
        # Without parameters psycopg leaves a % alone.
        return self.connection.execute(expand(source.sql, view, all_values(self.board)).encode()).fetchall()


@pytest.fixture(scope="session")
def slos() -> Sequence[Slo]:
    """The built-in SLOs."""
    return parse_slos(BUILT_IN.read_text(), BUILT_IN.name, ObservedBy.GATEWAY)


@pytest.fixture
def board(tmp_path: Path) -> dict[str, Any]:
    """The *On call* board as JSON."""
    found: dict[str, Any] = json.loads(build(tmp_path)[0].read_text())
    return found


class Filled(NamedTuple):
    """A database that holds the fleet, written once per session: tests roll back what they change."""

    conninfo: str
    base: datetime
    calls: Sequence[fleet.Call]
    scrapes: Sequence[fleet.Scrape]


def _fill(conninfo: str, slos: Sequence[Slo]) -> Filled:
    # Partitions are made around the clock's now, so the data must lie there.
    now = datetime.now(UTC)
    # On a whole 5 minutes, so that slots of that length are those of the data.
    base = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0) - timedelta(minutes=60)
    made, scraped = fleet.calls(), fleet.scrapes()
    with psycopg.connect(conninfo) as connection:
        fleet.insert(connection, base, made, scraped)
        incident.insert(connection, base, slos)
        connection.execute("ANALYZE")
    return Filled(conninfo, base, made, scraped)


@pytest.fixture(scope="session")
def filled(databases: Databases, slos: Sequence[Slo]) -> Iterator[Filled]:
    """The fleet on the embedded server."""
    with databases.fresh() as conninfo:
        yield _fill(conninfo, slos)


@pytest.fixture(scope="session", params=["embedded-18", "debian-15"])
def filled_anywhere(request: pytest.FixtureRequest, servers: _Servers, slos: Sequence[Slo]) -> Iterator[Filled]:
    """The fleet, once per server that we promise to work with."""
    with servers.databases(request.param).fresh() as conninfo:
        yield _fill(conninfo, slos)


@contextmanager
def _shown(filled: Filled, board: dict[str, Any], slos: Sequence[Slo]) -> Iterator[Shown]:
    with psycopg.connect(filled.conninfo, row_factory=dict_row) as connection:
        try:
            yield Shown(connection, board, slos, filled.base, filled.calls, filled.scrapes)
        finally:
            connection.rollback()


@pytest.fixture
def shown(filled: Filled, board: dict[str, Any], slos: Sequence[Slo]) -> Iterator[Shown]:
    """The board over the fleet's data, an hour old."""
    with _shown(filled, board, slos) as found:
        yield found


@pytest.fixture
def shown_anywhere(filled_anywhere: Filled, board: dict[str, Any], slos: Sequence[Slo]) -> Iterator[Shown]:
    """The same on every server that we promise to work with."""
    with _shown(filled_anywhere, board, slos) as found:
        yield found
