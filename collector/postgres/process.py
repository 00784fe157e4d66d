"""Which processes are servers of a cluster. A process id in a file proves nothing: it may be somebody else's by now."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from collector.postgres.account import Account

_PROCESSES = Path("/proc")
_PROGRAMS = ("postgres", "postmaster")


class Postmaster(NamedTuple):
    """What a running server wrote into its postmaster.pid. ``listen`` is empty where it has no TCP port."""

    pid: int
    port: int
    run: Path
    listen: str


def recorded_pid(file: Path) -> int | None:
    """The process id on the first line of a postmaster.pid or a socket's lock file."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(file.read_text().splitlines()[0])
    return None


def postmaster(cluster: Path, account: Account) -> Postmaster | None:
    """The server that runs on a cluster, whether or not it is ready to answer."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        found = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not serves(found, cluster, account):
        return None
    # The lines after the third are written a moment later than the first ones, each padded or empty.
    port, run, listen = (lines + [""] * 6)[3:6]
    return Postmaster(found, int(port or 0), Path(run), listen.strip())


def servers(cluster: Path, account: Account) -> list[int]:
    """Every process that works in a cluster: a backend can outlive its postmaster."""
    if not _has_proc():
        pid = recorded_pid(cluster / "postmaster.pid")
        return [pid] if pid is not None and serves(pid, cluster, account) else []
    pids = (int(entry.name) for entry in _PROCESSES.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if serves(pid, cluster, account)]


def serves(pid: int, cluster: Path, account: Account) -> bool:
    """Whether a process is a Postgres of this account, postmaster or backend, that works in this cluster."""
    if not _has_proc():
        return serves_by_command(pid, cluster)
    entry = _PROCESSES / str(pid)
    try:
        if entry.stat().st_uid != account.uid:
            return False
        title = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return False
    if Path(title).name not in _PROGRAMS and not title.startswith("postgres:"):
        return False
    try:
        return os.readlink(entry / "cwd") == str(cluster)
    except PermissionError:
        # Root of a container lacks the capability to look at another account's process; that account may.
        return account.run(["readlink", str(entry / "cwd")]).stdout.strip() == str(cluster)
    except OSError:
        return False


def serves_by_command(pid: int, cluster: Path) -> bool:
    """The same where there is no /proc (macOS): a postmaster's command line names its program and its directory."""
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    program, _, arguments = shown.strip().partition(" ")
    return Path(program).name in _PROGRAMS and f"-D {cluster} " in f"{arguments} "


def _has_proc() -> bool:
    return (_PROCESSES / "self" / "cwd").exists()
