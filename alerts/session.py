"""How the commands about alerts reach the database: the configured one, or the embedded one, for this moment."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn, TypeVar

import click
import structlog
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction, UndefinedTable

from alerts.mute import parse_duration
from alerts.store.leader import Connection
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


def ask(config_path: Path | None, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Do something in one transaction; what the user has to mend ends in one line and an exit code."""

    async def run(conninfo: str) -> Result:
        async with Database(conninfo, application="llm-slo alerts", size=1) as database, database.transaction() as connection:
            return await work(connection)

    try:
        with _conninfo(load_config(config_path)) as conninfo:
            return asyncio.run(run(conninfo))
    except (ConfigError, ForeignDataDirectory, ServerFailed, UnsuitableDatabase, AddressUnavailable) as error:
        leave(str(error), 2)
    except StoreUnavailable as error:
        leave(f"the database cannot be reached: {error}", 1)
    except UndefinedTable:
        leave("the database is older than this llm-slo: start it once, which brings the database up to date", 1)
    except (InsufficientPrivilege, ReadOnlySqlTransaction):
        leave("this login may not do that: connect as llm_slo_alerter, or as the owner of llm-slo's tables", 1)


@contextmanager
def _conninfo(config: Config) -> Iterator[str]:
    if config.database_url is not None:
        yield config.database_url
        return
    with postgres.start(config.data_dir, tcp=config.listen.postgres) as server:
        migration.upgrade(server.conninfo)
        yield server.conninfo


def leave(message: str, code: int) -> NoReturn:
    """End with a line for the user."""
    click.echo(f"llm-slo: {message}", err=True)
    sys.exit(code)


class Moment(click.ParamType[datetime]):
    """A time: ISO 8601 (UTC unless it says otherwise), or how long ago, such as ``2h``."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            return datetime.now(UTC) - parse_duration(text)
        except ValueError:
            pass
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is no time: expected 2026-11-24T03:12, or how long ago, such as 2h", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


class Span(click.ParamType[timedelta]):
    """A length of time, such as ``2h``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The length."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def minute(time: datetime) -> str:
    """A time as a list shows it."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
