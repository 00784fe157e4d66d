"""The session of one command: its common options, the database that it reaches, and how it ends where the user must mend."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import click
import structlog
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction, UndefinedTable

from collector import migration, postgres
from collector.config import Config, load_config
from collector.errors import (
    AddressUnavailable,
    ConfigError,
    ForeignDataDirectory,
    ServerFailed,
    StoreUnavailable,
    UnsuitableDatabase,
)
from collector.store.connection import Database

Result = TypeVar("Result")

CONFIG = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), envvar="LLM_SLO_CONFIG", help="The configuration file (YAML)."
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def quiet() -> None:
    """Standard output is for the answer alone: a script reads it."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # The one line that says that the database cannot be reached is ours.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


def leave(message: str, code: int) -> NoReturn:
    """End with a line for the user."""
    click.echo(f"llm-slo: {message}", err=True)
    sys.exit(code)


@contextmanager
def reach(config: Config, url: str | None) -> Iterator[str]:
    """A database's conninfo: ``url``, or the embedded one's, which runs for this moment where it does not run anyway."""
    if url is not None:
        yield url
        return
    with postgres.start(config.data_dir, tcp=config.listen.postgres) as server:
        migration.upgrade(server.conninfo)
        yield server.conninfo


def use(
    config_path: Path | None,
    work: Callable[[Database], Awaitable[Result]],
    *,
    application: str,
    older: str,
    refused: str,
) -> Result:
    """Do something with the database; what the user has to mend ends in one line and an exit code.

    :param older: what to say of a database without the tables that are asked for
    :param refused: what to say to a login that may not do this
    """

    async def run(conninfo: str) -> Result:
        async with Database(conninfo, application=application, size=1) as database:
            return await work(database)

    try:
        config = load_config(config_path)
        with reach(config, config.database_url) as conninfo:
            return asyncio.run(run(conninfo))
    except (ConfigError, ForeignDataDirectory, ServerFailed, UnsuitableDatabase, AddressUnavailable) as error:
        leave(str(error), 2)
    except StoreUnavailable as error:
        leave(f"the database cannot be reached: {error}", 1)
    except UndefinedTable:
        leave(older, 1)
    except (InsufficientPrivilege, ReadOnlySqlTransaction):
        leave(refused, 1)
