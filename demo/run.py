"""``llm-slo demo run``: the demo with traffic, and the live view of what the daemon makes of it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import AsyncConnection
from rich.console import Console
from rich.live import Live

from alerts.slo import load_slos
from alerts.store.status import read_alert_statuses, read_slo_statuses
from collector.config import default_data_dir
from collector.postgres.directory import DATABASE, ROLE
from collector.reads.live import deaths, replicas, traffic, undelivered
from demo import traffic as clients
from demo.broken import FAULTS
from demo.live import Picture, View, render
from demo.stage import Demo, staged
from demo.tenant import keys_by_tenant, read_directory
from demo.vitals import read_vitals

WINDOW = timedelta(seconds=60)
DEATHS_SHOWN = timedelta(minutes=15)
FRAME_SECONDS = 1.0
PLAIN_FRAME_SECONDS = 10.0
"""Time between two frames where the output is no terminal."""
_LONGEST_LOOK_SECONDS = 5.0


def default_directory() -> Path:
    """Where the demo keeps its data and logs."""
    return default_data_dir().with_name("llm-slo-demo")


async def run(directory: Path, *, rate: float, seconds: float | None, console: Console) -> None:
    """Run the demo until a signal, or for some seconds."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    started = loop.time()

    def progress(step: str) -> None:
        console.print(f"[bright_black]{loop.time() - started:5.0f} s[/]  {step}", highlight=False)

    async with staged(directory, progress) as demo:
        progress("sending traffic; the live view starts with the first rows")
        if seconds is not None:
            loop.call_later(seconds, stop.set)
        keys = keys_by_tenant(read_directory(demo.keys_file))
        sending = asyncio.create_task(
            clients.run(demo.gateway_url, keys, rate=rate, stop=stop, record=demo.record, seed=int(loop.time()))
        )
        _explain(demo, console)
        await watch(demo, stop, console)
        progress("stopping: waiting for the last answers")
        await sending
    console.print(f"The data is kept in {directory}; [bold]make demo[/] goes on with it, deleting the directory forgets it.")


async def watch(demo: Demo, stop: asyncio.Event, console: Console) -> None:
    """Show frame after frame until stopped."""
    pause = FRAME_SECONDS if console.is_terminal else PLAIN_FRAME_SECONDS
    live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
    if live is not None:
        live.start()
    try:
        while not stop.is_set():
            frame = render(await view(demo, datetime.now(UTC)))
            if live is None:
                console.print(frame)
            else:
                live.update(frame, refresh=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
    finally:
        if live is not None:
            live.stop()


async def view(demo: Demo, now: datetime) -> View:
    """What the daemon makes of the last minute. While Postgres is away, what collector and alerter say of themselves."""
    listen = demo.config.listen
    vitals = await read_vitals(f"http://{listen.web}", f"http://{listen.alerter}")
    try:
        async with asyncio.timeout(_LONGEST_LOOK_SECONDS):
            picture = await _picture(demo, now)
    except (psycopg.OperationalError, TimeoutError):
        picture = None
    return View(now, vitals, picture)


async def _picture(demo: Demo, now: datetime) -> Picture:
    async with await AsyncConnection.connect(demo.conninfo, autocommit=True) as connection:
        return Picture(
            traffic=await traffic(connection, now, WINDOW, demo.config.primary_observed_by),
            replicas=await replicas(connection),
            slos=await read_slo_statuses(connection, load_slos(demo.config), demo.config, now),
            alerts=await read_alert_statuses(connection, now),
            deaths=await deaths(connection, now - DEATHS_SHOWN),
            undelivered=await undelivered(connection),
        )


def _explain(demo: Demo, console: Console) -> None:
    data = demo.config.data_dir / "run"
    console.print(
        f"""
[bold]Break something[/], in a second terminal:
  .venv/bin/llm-slo demo break kill-engine   (or: {", ".join(fault for fault in FAULTS if fault != "kill-engine")})
[bold]Look at the data:[/]
  psql -h {data} -U {ROLE} {DATABASE}
  .venv/bin/llm-slo boards build --config {demo.config_path} --out boards/
[bold]Pages that were sent:[/] {demo.directory / "pages.jsonl"}   [bold]Logs:[/] {demo.directory}/*.log
[bold]Stop[/] with Ctrl-C.
""",
        highlight=False,
        soft_wrap=True,
    )
