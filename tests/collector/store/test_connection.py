from __future__ import annotations

import asyncio

import pytest

from collector.errors import StoreUnavailable
from collector.store.connection import Database
from tests.alerts.gate import Gate, gate


async def shut_later(way: Gate) -> None:
    """Later than the patience of who waits: so that it need not wait for the end of its question too."""
    await asyncio.sleep(0.3)
    await way.shut()


async def test_a_connection_on_which_nothing_arrives_is_given_up(database: str) -> None:
    async with gate(database) as way, Database(way.conninfo, application="test") as store:
        async with store.connection() as connection:
            await connection.execute("SELECT 1")
        way.hold()
        shut = asyncio.create_task(shut_later(way))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            async with store.connection(patience_seconds=0.1) as connection:
                await connection.execute("SELECT 1")
        await shut


async def test_the_server_ends_a_transaction_that_nobody_goes_on_with(database: str) -> None:
    async with Database(database, application="test") as store, store.connection() as connection:
        cursor = await connection.execute("SHOW idle_in_transaction_session_timeout")
        assert ("5s",) == await cursor.fetchone()
