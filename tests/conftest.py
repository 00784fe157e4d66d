"""Databases for tests: one server and one migrated template per session, one database per test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from collector import migration, partition
from collector.postgres import Server
from tests.server import debian, temporary

# A busy machine is no failure: how long an example takes is not what these tests are about.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_TEMPLATE = "template"
_numbers = itertools.count(1)


class Databases(NamedTuple):
    """Makes databases on one server."""

    server: Server

    @contextmanager
    def fresh(self, template: str = _TEMPLATE) -> Iterator[str]:
        """A connection string of a copy of a template, dropped afterwards with whoever is still connected to it."""
        name = f"test_{next(_numbers)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield make_conninfo(self.server.conninfo, dbname=name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        # On a connection of its own each time: a test may have restarted the server in between.
        with psycopg.connect(self.server.conninfo, autocommit=True) as connection:
            connection.execute(statement)


async def _partitions(conninfo: str) -> None:
    async with await AsyncConnection.connect(conninfo) as connection:
        await partition.ensure(connection, datetime.now(UTC))


class _Servers:
    """Starts each server when a test first asks for it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._databases: dict[str, Databases] = {}

    def databases(self, name: str) -> Databases:
        if name not in self._databases:
            installation = debian("15") if name == "debian-15" else None
            server = self._stack.enter_context(temporary(installation))
            with psycopg.connect(server.conninfo, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{_TEMPLATE}"')
            template = make_conninfo(server.conninfo, dbname=_TEMPLATE)
            migration.upgrade(template)
            asyncio.run(_partitions(template))
            self._databases[name] = Databases(server)
        return self._databases[name]


@pytest.fixture(scope="session")
def servers() -> Iterator[_Servers]:
    """Every server of this session, stopped at its end."""
    with ExitStack() as stack:
        yield _Servers(stack)


@pytest.fixture(scope="session")
def databases(servers: _Servers) -> Databases:
    """Databases on the embedded server."""
    return servers.databases("embedded-18")


@pytest.fixture(scope="session")
def postgres_server(databases: Databases) -> Server:
    """The embedded server of this session."""
    return databases.server


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """A connection string of a fresh, migrated, empty database, with partitions from yesterday to the day after tomorrow."""
    with databases.fresh() as conninfo:
        yield conninfo


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """A connection string of a database that was never migrated."""
    with databases.fresh(template="template1") as conninfo:
        yield conninfo


@pytest.fixture(params=["embedded-18", "debian-15"])
def any_database(request: pytest.FixtureRequest, servers: _Servers) -> Iterator[str]:
    """As `database`, once per server that we promise to work with. Fails where one is not installed."""
    with servers.databases(request.param).fresh() as conninfo:
        yield conninfo


@pytest.fixture
async def connection(database: str) -> AsyncIterator[AsyncConnection]:
    """A connection to `database`."""
    async with await AsyncConnection.connect(database) as connection:
        yield connection
