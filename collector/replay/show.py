"""What a replay says on standard output: lines of JSON, or a table for a person."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from collector.replay.account import Account, Exposition
from collector.replay.replay import Replay
from collector.replay.row import row_of


class Style(StrEnum):
    """How it is said."""

    TABLE = "table"
    JSON = "json"
    ROWS = "rows"


async def show(replay: Replay, path: Path, style: Style, complain: Callable[[str], None]) -> bool:
    """Replay a file and say what it came to; whether all of it was telemetry.

    :raises StoreUnavailable: when Postgres did not commit
    """
    try:
        replayed = await replay(path)
    except OSError as error:
        complain(f"{path}: {error.strerror or error}")
        return False
    for entry in replayed.entries:
        if style is Style.JSON:
            click.echo(json.dumps(entry.document()))
        elif style is Style.ROWS:
            for request in entry.requests if isinstance(entry, Account) else ():
                click.echo(json.dumps(row_of(request)))
        else:
            _draw(entry)
    return replayed.faults == 0


def _draw(entry: Account | Exposition) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if isinstance(entry, Exposition):
        console.print(f"{entry.file}: metrics of {len(entry.page.engines)} engines", markup=False)
        console.print(_metrics(entry))
        if entry.page.unknown:
            console.print(f"not read: {', '.join(entry.page.unknown)}", markup=False)
        return
    ledger = {"rows": entry.rows, "merged": entry.merged, "ignored": entry.ignored, "duplicate": entry.duplicate}
    parts = [
        f"{count} {name}" for name, count in (ledger | {f"rejected ({why})": n for why, n in entry.rejected.items()}).items()
    ]
    console.print(f"{entry.file}: {entry.received} {_UNITS[entry.kind]} received: {', '.join(parts)}", markup=False)
    if entry.requests:
        console.print(", ".join(f"{count} {outcome}" for outcome, count in entry.outcomes().items()), markup=False)
        console.print(_tokens(entry))


_UNITS = {"traces": "spans", "logs": "log records"}


def _tokens(account: Account) -> Table:
    table = Table("seen by", "tenant", "model", "input tokens", "of it cached", "output tokens")
    for group, sums in account.tokens().items():
        table.add_row(group.observed_by, group.tenant, group.model or "unknown", *map(str, sums))
    return table


def _metrics(exposition: Exposition) -> Table:
    table = Table("engine", "model", "metric", "value")
    for reading in exposition.page.engines:
        for name, value in sorted(reading.metrics.items()):
            table.add_row(reading.label, reading.model, name, f"{value:g}")
    return table
