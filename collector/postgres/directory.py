"""The data directory: what lies where, whose it is, and whether it is one of ours.

::

    DATA_DIR/postgres/          the cluster, 0700, owned by the account that Postgres runs as
    DATA_DIR/run/               its socket, 0700, the same owner; elsewhere where the path is too long for a socket
    DATA_DIR/install-VERSION/   as root only: the programs, where that account can read them
    DATA_DIR/start.lock         held by whoever starts or stops the server
    DATA_DIR/users.lock         held, shared, by every process that uses the server
    DATA_DIR/grafana.password   0600
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

from collector.errors import ForeignDataDirectory, ServerFailed
from collector.postgres.account import Account, user_name
from collector.postgres.installation import Installation

DATABASE = "llm_slo"
ROLE = "llm_slo"

# sockaddr_un holds 108 bytes on Linux, 104 on macOS, the final zero included.
_SOCKET_PATH_BYTES = 103
_SOCKET_NAME = ".s.PGSQL.65535.lock"


class Directory(NamedTuple):
    """Paths of one data directory; ``root`` is resolved."""

    root: Path
    run: Path

    @property
    def cluster(self) -> Path:
        """What Postgres calls the data directory."""
        return self.root / "postgres"

    @property
    def start_log(self) -> Path:
        """What Postgres says before its own log is open, and why a start failed."""
        return self.cluster / "start.log"

    @property
    def grafana_password(self) -> Path:
        """The file that holds the password of Grafana's role."""
        return self.root / "grafana.password"


def prepare(data_dir: Path, account: Account) -> Directory:
    """Make the directories that are missing, and refuse those that are not ours. Directories of others keep their modes.

    :raises ForeignDataDirectory: where another user owns it
    :raises ServerFailed: where the account cannot reach it, or it cannot be made
    """
    root = Path(os.path.realpath(data_dir.expanduser()))
    if set(str(root)) & set("\"'$`\\\n"):
        raise ServerFailed(f"data_dir {root}: a path with quotes, $, ` or backslashes cannot hold a Postgres data directory")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        adopted = (root / "postgres").exists() or not any(root.iterdir())
    except OSError as error:
        raise _refusal(root, error) from error
    _refuse_others(root, os.geteuid())
    if account.dropped:
        _let_in(root, account, adopted)
    if (root / "postgres").exists():
        _refuse_others(root / "postgres", account.uid)
    return Directory(root, _run_directory(root, account))


def blocked_at(data_dir: Path, account: Account) -> Path | None:
    """The nearest existing parent of ``data_dir`` that the account may not pass, if any."""
    parents = [parent for parent in Path(os.path.realpath(data_dir.expanduser())).parents if parent.exists()]
    return next((parent for parent in parents if not account.may_enter(parent)), None)


def refuse_other_major(directory: Directory, installation: Installation, account: Account) -> None:
    """Refuse a cluster that another major version of Postgres wrote.

    :raises ForeignDataDirectory: with the steps to move it
    """
    found = (directory.cluster / "PG_VERSION").read_text().strip()
    if found == installation.major:
        return
    cluster, socket, dump = directory.cluster, f"-h {directory.run} -U {ROLE}", directory.root / "llm-slo.dump"
    pg_ctl = f"{f'runuser -u {account.name} -- ' if account.dropped else ''}BIN/pg_ctl -D {cluster}"
    raise ForeignDataDirectory(
        f"{cluster} was written by PostgreSQL {found}; this llm-slo brings PostgreSQL {installation.major}. To move the data, "
        f"with the programs of PostgreSQL {found} in BIN:\n"
        f"  1. {pg_ctl} -o \"-h '' -k {directory.run}\" -w start\n"
        f"  2. {installation.bin}/pg_dump {socket} -Fc -f {dump} {DATABASE}\n"
        f"  3. {pg_ctl} -m fast stop\n"
        f"  4. mv {cluster} {cluster}-{found}\n"
        f"  5. start llm-slo, which makes a new one\n"
        f"  6. {installation.bin}/pg_restore {socket} -d {DATABASE} --clean --if-exists {dump}\n"
        f"To start empty instead, set data_dir to another directory."
    )


def _refusal(path: Path, error: OSError) -> Exception:
    if isinstance(error, PermissionError):
        nearest = next(parent for parent in (path, *path.parents) if parent.exists())
        return ForeignDataDirectory(
            f"data_dir {path}: {nearest} belongs to {user_name(nearest.stat().st_uid)} and may not be used by "
            f"{user_name(os.geteuid())}: run llm-slo as that user, or set data_dir"
        )
    return ServerFailed(f"data_dir {path}: {error.strerror or error}")


def _refuse_others(path: Path, uid: int) -> None:
    owner = path.stat().st_uid
    if owner != uid:
        raise ForeignDataDirectory(
            f"{path} belongs to {user_name(owner)}, and Postgres would run as {user_name(uid)}: "
            f"run llm-slo as the user who made it, or set data_dir to another directory"
        )


def _let_in(root: Path, account: Account, adopted: bool) -> None:
    """Let the dropped account pass through the data directory: by its group, and only where the directory is ours alone."""
    blocked = blocked_at(root, account)
    if blocked is not None:
        raise ServerFailed(
            f"data_dir {root}: Postgres refuses root and runs as {account.name}, who may not pass {blocked}: "
            f"set data_dir to a directory such as /var/lib/llm-slo"
        )
    if account.may_enter(root):
        return
    if not adopted:
        raise ServerFailed(
            f"data_dir {root} holds files that are not llm-slo's, and the user {account.name} may not pass it: "
            f"set data_dir to a directory of its own"
        )
    os.chown(root, -1, account.gid)
    root.chmod(stat.S_IMODE(root.stat().st_mode) | stat.S_IXGRP)


def _run_directory(root: Path, account: Account) -> Path:
    run = root / "run"
    if len(os.fsencode(run / _SOCKET_NAME)) > _SOCKET_PATH_BYTES:
        name = f"llm-slo-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"
        run = Path("/run" if account.dropped and os.access("/run", os.W_OK) else tempfile.gettempdir()) / name
    with contextlib.suppress(FileExistsError):
        run.mkdir(mode=0o700)
        account.own(run)
    state = run.lstat()
    # A directory in a shared place may have been put there by somebody who wants to be our server.
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != account.uid or stat.S_IMODE(state.st_mode) != 0o700:
        raise ForeignDataDirectory(f"{run} is not a directory of {account.name} with mode 0700: remove it")
    return run


def remove_partial(path: Path) -> None:
    """Remove what a killed start left half made."""
    if path.exists():
        shutil.rmtree(path)
