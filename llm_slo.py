"""The door: one command line. Every command is ``llm-slo VERB``.

Exit codes: 0 done, 1 something is not as it should be, 2 wrong usage or configuration, 3 an address is in use.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import structlog
from psycopg import OperationalError

from alerts import daemon as alerting
from alerts.history_command import alerts
from alerts.mute_command import mute
from alerts.slo import load_slos
from collector import migration, supervise
from collector.check_command import check
from collector.clock import utc_now
from collector.config import Config, load_config
from collector.daemon import Collector, policy_of
from collector.errors import (
    AddressUnavailable,
    ConfigError,
    ForeignDataDirectory,
    ServerFailed,
    StoreUnavailable,
    UnsuitableDatabase,
)
from collector.own_log import LastingLogger
from collector.replay.replay import Replay
from collector.replay.show import Style, show
from collector.replay.sink import Kept, Nowhere, Sink
from collector.session import CONFIG, leave, reach
from collector.setup.command import init
from collector.store.connection import Database
from collector.token_command import token
from collector.trace import exporting
from dashboards import board
from demo.command import demo
from reports.usage_command import usage
from web.health import serve_health

Result = TypeVar("Result")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="llm-slo")
def main() -> None:
    """Observability and SLO monitoring for self-hosted LLM serving.

    \b
    Example:
      llm-slo up --config llm-slo.yaml
    """


@main.command()
@CONFIG
def up(config_path: Path | None) -> None:
    """Run collector and alerter, with an embedded Postgres where no database is configured.

    \b
    Example:
      llm-slo up --config llm-slo.yaml
    """
    config = _load(config_path)
    _refuse(lambda: load_slos(config))
    _refuse(config.sinks.check_secrets)
    _refuse(lambda: supervise.up(config, config_path, [sys.executable, "-m", "llm_slo"]))


@main.command()
@CONFIG
def collector(config_path: Path | None) -> None:
    """Receive spans, scrape engines, keep rows. Needs database_url.

    \b
    Example:
      LLM_SLO_DATABASE_URL=postgresql://llm_slo@db/llm_slo llm-slo collector --config llm-slo.yaml
    """
    config = _load(config_path)
    slos = _refuse(lambda: load_slos(config))

    async def work(stop: asyncio.Event) -> None:
        daemon = Collector(config, _database_url(config), [slo.objective for slo in slos])
        async with serve_health("web", config.listen.web, daemon.ready.is_set):
            await daemon.run(stop)

    _run(config, "llm-slo-collector", work)


@main.command()
@CONFIG
def alerter(config_path: Path | None) -> None:
    """Watch SLOs and symptoms, and tell people. Any number may run: one leads. Needs database_url.

    \b
    Example:
      LLM_SLO_DATABASE_URL=postgresql://llm_slo@db/llm_slo llm-slo alerter --config llm-slo.yaml
    """
    config = _load(config_path)

    async def work(stop: asyncio.Event) -> None:
        vitals = alerting.Vitals()
        async with (
            Database(_database_url(config), application="llm-slo alerter") as database,
            serve_health("alerter", config.listen.alerter, lambda: vitals.postgres_ok),
        ):
            await alerting.run(config, database, stop, vitals=vitals)

    _run(config, "llm-slo-alerter", work)


@main.command()
@CONFIG
@click.option("--dry-run", is_flag=True, help="Keep nothing. An old file is judged as of its last span, and gives rows too.")
@click.option("--json", "style", flag_value="json", help="One JSON object per file, with its ledger, outcomes and tokens.")
@click.option("--rows", "style", flag_value="rows", help="One JSON object per request.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
def replay(config_path: Path | None, dry_run: bool, style: str | None, files: tuple[Path, ...]) -> None:
    """Load files of telemetry through the path of live telemetry, each closed at its end.

    What a file is shows by its content: OTLP/JSON (spans or logs, a body a line), OTLP in protobuf, or a page in the
    Prometheus text format, which is shown and not kept; any of them may be compressed with gzip or zstd. What is in the
    database already stays as it is and counts as duplicate. Exit code 2 where a file, or a line of one, is none of these; the
    others count.

    \b
    Example:
      llm-slo replay --dry-run --json spans.jsonl
    """
    config = _load(config_path)

    async def work(sink: Sink) -> bool:
        one = Replay(policy_of(config), sink, largest_body=config.limits.body_bytes, now=utc_now, complain=_complain)
        return all([await show(one, path, Style(style or "table"), _complain) for path in files])

    async def work_in(conninfo: str) -> bool:
        async with Database(conninfo, application="llm-slo replay") as database:
            kept = Kept(database, [slo.objective for slo in slos])
            await kept.register(utc_now())
            return await work(kept)

    if dry_run:
        sys.exit(0 if asyncio.run(work(Nowhere())) else 2)
    slos = _refuse(lambda: load_slos(config))
    sys.exit(0 if _refuse(lambda: _with_database(config, work_in)) else 2)


@main.group()
def boards() -> None:
    """Grafana boards, generated in code."""


@boards.command()
@CONFIG
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where to write.")
def build(config_path: Path | None, out: Path) -> None:
    """Write the boards and Grafana's provisioning files. Thresholds and budgets are those of the configured SLOs.

    \b
    Example:
      llm-slo boards build --out boards/
    """
    config = _load(config_path)
    slos = _refuse(lambda: load_slos(config))
    for path in board.build(out, slos, config.primary_observed_by):
        click.echo(path)


main.add_command(alerts)
main.add_command(check)
main.add_command(demo)
main.add_command(init)
main.add_command(mute)
main.add_command(token)
main.add_command(usage)


def _load(path: Path | None) -> Config:
    config = _refuse(lambda: load_config(path))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if config.log_format == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: LastingLogger(sys.stderr),
    )
    # A library's warning is ours to show; what it says of each connection is not.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    return config


def _refuse(work: Callable[[], Result]) -> Result:
    """Do something; what the user has to mend ends in one line and an exit code instead of a traceback."""
    try:
        return work()
    except (ConfigError, ForeignDataDirectory, ServerFailed, UnsuitableDatabase) as error:
        leave(str(error), 2)
    except AddressUnavailable as error:
        leave(str(error), 3)


def _complain(message: str) -> None:
    click.echo(f"llm-slo: {message}", err=True)


def _with_database(config: Config, work: Callable[[str], Coroutine[Any, Any, Result]]) -> Result:
    """Do something in the configured database, or the embedded one, which runs for this moment where it does not run anyway."""
    try:
        with reach(config, config.database_url) as conninfo:
            if config.database_url is not None:
                migration.upgrade(conninfo)
            return asyncio.run(work(conninfo))
    except (StoreUnavailable, OperationalError) as error:
        leave(f"the database cannot be reached: {str(error).splitlines()[0]}", 1)


def _database_url(config: Config) -> str:
    if config.database_url is None:
        raise ConfigError(
            "neither database_url nor LLM_SLO_DATABASE_URL is set: set one, or use `llm-slo up`, which brings its own Postgres"
        )
    return config.database_url


def _run(config: Config, service: str, work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run until a signal, or until the supervisor that started us is gone."""

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if os.environ.get(supervise.SUPERVISED):
            loop.add_reader(sys.stdin, stop.set)
        await work(stop)

    with exporting(config.traces_endpoint, service):
        _refuse(lambda: asyncio.run(until_stopped()))


if __name__ == "__main__":
    main()
