"""A connection for those who only read: commands that answer a question and end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.errors import UndefinedColumn, UndefinedTable

from collector.config import Config
from collector.errors import UnsuitableDatabase
from collector.reads.level import one_snapshot
from collector.session import reach

Result = TypeVar("Result")

_OPTIONS = "-c timezone=UTC -c statement_timeout=120s -c default_transaction_read_only=on"


def ask(config: Config, work: Callable[[AsyncConnection[Any]], Awaitable[Result]]) -> Result:
    """Answer a question from one snapshot of the database: ``read_database_url``, else ``database_url``, else the embedded one,
    which runs for this moment where it does not run anyway.

    :raises psycopg.OperationalError: the database cannot be reached, or did not answer in time
    :raises UnsuitableDatabase: it is not at the schema of this code
    """

    async def run(conninfo: str) -> Result:
        connecting = AsyncConnection.connect(conninfo, options=_OPTIONS, application_name="llm-slo read", connect_timeout=10)
        async with await connecting as connection, one_snapshot(connection):
            return await work(connection)

    try:
        with reach(config, config.read_database_url or config.database_url) as conninfo:
            return asyncio.run(run(conninfo))
    except (UndefinedTable, UndefinedColumn) as error:
        raise UnsuitableDatabase("the database is not at the schema of this llm-slo: start it once, which migrates") from error
