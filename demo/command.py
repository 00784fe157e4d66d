"""``llm-slo demo``: run it, break it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console

from demo.broken import FAULTS, break_demo, mind_sigterm
from demo.engine import EngineFailed
from demo.environment import EnvironmentFailed
from demo.order import BrokenPromise, CannotBreak
from demo.run import default_directory, run
from demo.stage import DemoFailed
from demo.state import NoDemo

DIRECTORY = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its data and logs are  [default: llm-slo-demo beside llm-slo's own data]",
)


@click.group()
def demo() -> None:
    """The daemon watching a real vLLM with real traffic, and faults to cause."""


@demo.command("run")
@DIRECTORY
@click.option("--rate", default=3.0, show_default=True, help="Requests a second.")
@click.option("--seconds", type=float, help="Stop after so long; else with Ctrl-C.")
def run_demo(directory: Path | None, rate: float, seconds: float | None) -> None:
    """Run the demo: vLLM on the CPU with a tiny random model, a gateway, three tenants, and a live view.

    The first start makes a vLLM environment of 3.4 GB outside the checkout, which takes minutes.

    \b
    Example:
      llm-slo demo run --rate 3
    """
    console = Console()
    try:
        asyncio.run(run(directory or default_directory(), rate=rate, seconds=seconds, console=console))
    except (DemoFailed, EngineFailed, EnvironmentFailed) as error:
        click.echo(f"llm-slo: {error}", err=True)
        sys.exit(1)


@demo.command("break")
@click.argument("fault", type=click.Choice(sorted(FAULTS)))
@DIRECTORY
@click.option("--seconds", type=float, help="How long timeouts, slow, postgres-down, sink-down and disk-full last.")
def break_(fault: str, directory: Path | None, seconds: float | None) -> None:
    """Cause a fault in the demo that runs, and return when it is over. All are real, except for what makes oom fail.

    \b
    kill-engine    SIGKILL to vLLM's engine core
    timeouts       the engine stands still until the gateway's deadline passes
    slow           the engine runs in fits and starts
    validation     a burst of invalid requests
    oom            simulated: a plugin in the real vLLM raises torch.OutOfMemoryError, and vLLM dies of it
    postgres-down  the daemon's Postgres is stopped for 60 s; then counts what was acknowledged against what is stored
    sink-down      the pager answers 503 for 60 s
    disk-full      Postgres is stopped and the collector may write no file for 30 s, as on a full disk

    \b
    Example:
      llm-slo demo break postgres-down --seconds 60
    """
    mind_sigterm()
    try:
        break_demo(directory or default_directory(), fault, click.echo, seconds=seconds)
    except (NoDemo, CannotBreak, BrokenPromise) as error:
        click.echo(f"llm-slo: {error}", err=True)
        sys.exit(1)
