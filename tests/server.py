"""The Postgres servers that tests run against: the embedded one, and Debian's of another major version."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from collector.postgres import Installation, Server, server_account, start
from collector.postgres.lock import Claim
from collector.postgres.process import servers

_PREFIX = "llm-slo-test-"


def debian(major: str) -> Installation:
    """Debian's programs of a major version; a test that needs them fails where they are missing."""
    programs = Path(f"/usr/lib/postgresql/{major}/bin")
    if not (programs / "initdb").exists():
        raise RuntimeError(f"tests need PostgreSQL {major}'s server in {programs}: apt-get install postgresql-{major}")
    shown = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return Installation(programs, shown.split()[2])


@contextmanager
def temporary(installation: Installation | None = None) -> Iterator[Server]:
    """A server in a directory of its own, gone afterwards."""
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with start(directory, installation=installation) as server:
            # A test's rows need not survive a power cut, and a commit costs a tenth of the time.
            with psycopg.connect(server.conninfo, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _sweep() -> None:
    """Remove what test runs that were killed have left: their servers, then their directories."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            # A younger one may be another run that is about to start.
            if time.time() - directory.stat().st_mtime > 60:
                _remove_abandoned(directory)


def _remove_abandoned(directory: Path) -> None:
    locks = [Claim(directory / name) for name in ("start.lock", "users.lock")]
    try:
        if all(lock.is_only() for lock in locks):
            for pid in servers(directory / "postgres", server_account()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        for lock in locks:
            lock.release()
