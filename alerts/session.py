"""How the commands about alerts reach the database, and how they read times."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click

from alerts.mute import parse_duration
from alerts.store.leader import Connection
from collector.session import use
from collector.store.connection import Database

Result = TypeVar("Result")


def ask(config_path: Path | None, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Do something in one transaction; what the user has to mend ends in one line and an exit code."""

    async def run(database: Database) -> Result:
        async with database.transaction() as connection:
            return await work(connection)

    return use(
        config_path,
        run,
        application="llm-slo alerts",
        older="the database is older than this llm-slo: start it once, which brings the database up to date",
        refused="this login may not do that: connect as llm_slo_alerter, or as the owner of llm-slo's tables",
    )


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
