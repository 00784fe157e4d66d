"""``llm-slo check``: ask the configured targets once and say what they are; say how much disk the tables take."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from psycopg import OperationalError

from collector.check import Checked
from collector.check import check as check_targets
from collector.config import Config, load_config
from collector.errors import ConfigError, ForeignDataDirectory, ServerFailed, UnsuitableDatabase
from collector.reading import ask
from collector.reads.storage import Disk
from collector.reads.storage import storage as read_storage
from collector.session import CONFIG, JSON, leave


@click.command()
@CONFIG
@click.option("--targets", is_flag=True, help="Ask every target once for its health and its metrics.")
@click.option("--storage", is_flag=True, help="Say how much disk each table takes, now and at today's rate.")
@JSON
def check(config_path: Path | None, targets: bool, storage: bool, as_json: bool) -> None:
    """Say what the configured targets are: engine, version, models, which of their metrics nobody here knows, and what stays
    empty. Exit code 1 where one fails, or where there is none.

    Or say how much disk each table takes now, what the last 24 hours added, and what it comes to at that rate when as much is
    dropped as is added.

    \b
    Example:
      llm-slo check --targets --config llm-slo.yaml
      llm-slo check --storage --config llm-slo.yaml
    """
    if targets == storage:
        raise click.UsageError("say what to check: --targets or --storage")
    try:
        config = load_config(config_path)
    except ConfigError as error:
        leave(str(error), 2)
    if storage:
        _show_storage(config, as_json)
        return
    found = asyncio.run(check_targets(config.targets))
    for one in found:
        click.echo(_object(one) if as_json else "\n".join(_lines(one)))
    if not found:
        click.echo("no targets are configured", err=True)
    sys.exit(0 if found and all(one.failure is None for one in found) else 1)


def _show_storage(config: Config, as_json: bool) -> None:
    try:
        found = ask(config, partial(read_storage, now=datetime.now(UTC), retention=config.retention))
    except (ForeignDataDirectory, ServerFailed, UnsuitableDatabase) as error:
        leave(str(error), 2)
    except OperationalError as error:
        leave(f"the database cannot be reached: {str(error).splitlines()[0]}", 1)
    if as_json:
        for disk in found:
            click.echo(json.dumps(disk._asdict() | {"expected_bytes": disk.expected_bytes}))
        return
    lines = [("table", "now", "a day", "kept", "at today's rate"), *map(_disk, found)]
    grows = sum(disk.bytes_a_day or 0 for disk in found)
    expected = sum(disk.expected_bytes or 0 for disk in found)
    lines.append(("all", _size(sum(disk.bytes for disk in found)), _size(grows), "", _size(expected)))
    for name, *cells in lines:
        click.echo(f"{name:<18}" + "".join(f"{cell:>16}" for cell in cells))


def _disk(disk: Disk) -> tuple[str, str, str, str, str]:
    a_day = "" if disk.bytes_a_day is None else _size(disk.bytes_a_day)
    kept = f"{disk.kept_days} days" if disk.kept_days is not None else "for ever" if disk.bytes_a_day is not None else ""
    expected = "grows" if disk.expected_bytes is None else _size(disk.expected_bytes)
    return disk.table, _size(disk.bytes), a_day, kept, expected


def _size(bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if bytes >= size:
            return f"{bytes / size:.1f} {unit}"
    return f"{bytes} B"


def _object(checked: Checked) -> str:
    return json.dumps(checked._asdict() | {"health": checked.health.name.lower()})


def _lines(checked: Checked) -> list[str]:
    health = checked.health.name.lower() + ("" if checked.health_status is None else f" ({checked.health_status})")
    lines = [f"{checked.replica}  {checked.url}"]
    if checked.failure is not None:
        return [*lines, f"  failed    {checked.failure}", f"  health    {health}"]
    version = "" if checked.version is None else f" {checked.version}"
    said = {
        "engine": f"{checked.engine}{version}",
        "health": health,
        "models": ", ".join(checked.models),
        "engines": ", ".join(label or "(no label)" for label in checked.engines),
        "roles": ", ".join(checked.roles),
        "known": f"{len(checked.known)} metrics",
        "unknown": _list(checked.unknown),
        "empty": _list(checked.empty),
    }
    return lines + [f"  {name:<9} {text}" for name, text in said.items() if text]


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
