"""The door: one command line. Every command is ``llm-slo VERB``.

Exit codes: 0 done, 1 something is not as it should be, 2 wrong usage or configuration, 3 an address is in use.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import structlog

from alerts import daemon as alerting
from alerts.slo import load_slos
from collector import scrape, supervise
from collector.config import Config, load_config
from collector.daemon import Collector
from collector.errors import AddressUnavailable, ConfigError, ForeignDataDirectory, ServerFailed, UnsuitableDatabase
from collector.store.connection import Database
from collector.token_command import token
from collector.trace import exporting
from dashboards import board
from demo.command import demo
from web.health import serve_health

Result = TypeVar("Result")

CONFIG = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), envvar="LLM_SLO_CONFIG", help="The configuration file (YAML)."
)


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


@main.command()
@CONFIG
@click.option("--targets", is_flag=True, required=True, help="Ask every target once for its health and its metrics.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def check(config_path: Path | None, targets: bool, as_json: bool) -> None:
    """Say what the configured targets are, and which of their metrics nobody here reads. Exit code 1 where one fails.

    \b
    Example:
      llm-slo check --targets --config llm-slo.yaml
    """
    config = _load(config_path)
    found = asyncio.run(scrape.check(config.targets))
    for one in found:
        click.echo(json.dumps(one._asdict(), default=str) if as_json else _line(one))
    if not found:
        click.echo("no targets are configured", err=True)
    sys.exit(0 if found and all(one.failure is None for one in found) else 1)


def _line(checked: scrape.Checked) -> str:
    health = checked.health.name.lower()
    if checked.failure is not None:
        return f"{checked.replica}  {checked.url}  health {health}  failed: {checked.failure}"
    unread = f"  not read: {', '.join(checked.unknown)}" if checked.unknown else ""
    engines = ", ".join(engine or "only one" for engine in checked.engines)
    return (
        f"{checked.replica}  {checked.url}  health {health}  models {', '.join(checked.models)}  engines {engines}"
        f"  {checked.families} metrics{unread}"
    )


main.add_command(demo)
main.add_command(token)


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # A library's warning is ours to show; what it says of each connection is not.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    return config


def _refuse(work: Callable[[], Result]) -> Result:
    """Do something; what the user has to mend ends in one line and an exit code instead of a traceback."""
    try:
        return work()
    except (ConfigError, ForeignDataDirectory, ServerFailed, UnsuitableDatabase) as error:
        _exit(str(error), 2)
    except AddressUnavailable as error:
        _exit(str(error), 3)


def _exit(message: str, code: int) -> NoReturn:
    click.echo(f"llm-slo: {message}", err=True)
    sys.exit(code)


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
