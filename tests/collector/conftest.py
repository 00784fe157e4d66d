"""What the store's tests start from: the store's own pool, and a connection beside it to look with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection

from collector.store.connection import Database


@pytest.fixture
async def connected(any_database: str) -> AsyncIterator[Database]:
    """The store's way to a fresh database, on each server that we promise to work with."""
    async with Database(any_database, application="test") as database:
        yield database


@pytest.fixture
async def look(any_database: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Another connection to the same database; each statement sees what is committed."""
    async with await AsyncConnection.connect(any_database, autocommit=True) as connection:
        yield connection
