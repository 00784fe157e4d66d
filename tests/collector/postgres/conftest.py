"""Data directories for the launcher's tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.postgres import server_account, start
from collector.postgres.process import servers

_PREFIX = "llm-slo-launch-"


@pytest.fixture(scope="session")
def made() -> Iterator[Path]:
    """A data directory whose server ran once: making one takes most of a second."""
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    start(directory).stop()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def data_dir(made: Path) -> Iterator[Path]:
    """A data directory that tests share, its server stopped. A test leaves its files as they were."""
    yield made
    _kill_servers(made)


@pytest.fixture
def new_directory() -> Iterator[Path]:
    """An empty directory. Whatever serves in it is killed at the end."""
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    yield directory
    _kill_servers(directory)
    shutil.rmtree(directory)


@pytest.fixture
def own_data_dir(made: Path, new_directory: Path) -> Path:
    """A data directory to damage, its server stopped."""
    account = server_account()
    for path in made.iterdir():
        # Nobody writes to the programs: they are linked, which is faster.
        subprocess.run(["cp", "-al" if path.name.startswith("install-") else "-a", path, new_directory], check=True)
    if account.dropped:
        os.chown(new_directory, -1, account.gid)
        new_directory.chmod(0o710)
    return new_directory


@pytest.fixture
def unstarted(new_directory: Path) -> Path:
    """What is enough of a data directory to be refused."""
    cluster = new_directory / "postgres"
    cluster.mkdir(mode=0o700)
    (cluster / "PG_VERSION").write_text("16\n")
    server_account().own(cluster)
    return new_directory


def _kill_servers(data_dir: Path) -> None:
    for pid in servers(data_dir / "postgres", server_account()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
