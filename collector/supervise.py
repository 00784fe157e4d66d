"""``llm-slo up``: Postgres, collector and alerter as three processes that live and end together.

The alerter is a process of its own because an alerter inside the ingest process would die with it, and could not report
that data stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import structlog

from collector import postgres
from collector.config import DATABASE_URL, Config

SUPERVISED = "LLM_SLO_SUPERVISED"
"""Set for children: they stop when their standard input ends, which it does however their supervisor died."""
STOP_SECONDS = 20.0
LOOK_SECONDS = 1.0
"""How often the processes are looked after; what died is started again no faster than this."""
UNUSABLE = (2, 3)
"""Exit codes of a child that would fail again: wrong configuration, an address in use."""

log = structlog.get_logger()


class _Stop(Exception):
    """A signal asked us to end."""


def up(config: Config, config_path: Path | None, command: Sequence[str]) -> None:
    """Run until a signal. ``command`` is how to call ourselves."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stop

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        with _database(config) as database:
            _supervise([*command], ["--config", str(config_path)] if config_path else [], database)
    except _Stop:
        log.info("stopped")


@contextmanager
def _database(config: Config) -> Iterator[Callable[[], str]]:
    """A function that gives the database's connection string, and starts the embedded server again where it was killed."""
    url = config.database_url
    if url is not None:
        yield lambda: url
        return
    servers: list[postgres.Server] = []

    def running() -> str:
        if not servers or servers[-1].pid is None:
            servers.append(postgres.start(config.data_dir, tcp=config.listen.postgres))
            log.info("embedded Postgres", data_dir=str(config.data_dir), psql=servers[-1].psql_command)
            if servers[-1].grafana_password_file is not None:
                log.info("Grafana's role has its password in a file", path=str(servers[-1].grafana_password_file))
        return servers[-1].conninfo

    try:
        yield running
    finally:
        for server in servers:
            server.stop()


def _supervise(command: list[str], options: list[str], database: Callable[[], str]) -> None:
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while True:
            conninfo = database()
            for verb in ("collector", "alerter"):
                _keep_running(children, verb, [*command, verb, *options], conninfo)
            time.sleep(LOOK_SECONDS)
    finally:
        for child in children.values():
            child.terminate()
        for child in children.values():
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _keep_running(children: dict[str, subprocess.Popen[bytes]], verb: str, command: list[str], conninfo: str) -> None:
    child = children.get(verb)
    if child is not None:
        code = child.poll()
        if code is None:
            return
        if code in UNUSABLE:
            raise SystemExit(code)
        log.error("died; starting it again", process=verb, exit_code=code)
    # A session of its own: Ctrl-C in a terminal reaches us alone, and we end the children in order.
    children[verb] = subprocess.Popen(
        command,
        env=os.environ | {DATABASE_URL: conninfo, SUPERVISED: "1"},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
