"""The system account that Postgres runs as: our own, or, since Postgres refuses root, one made for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

from collector.errors import ServerFailed

SYSTEM_USER = "llm-slo-postgres"


class Account(NamedTuple):
    """Who runs the server. ``dropped`` says that we are root and it is somebody else."""

    name: str
    uid: int
    gid: int
    dropped: bool

    def run(self, command: list[str], *, timeout_seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, at the root directory and without our environment; never raises on its exit status."""
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        return subprocess.run(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            umask=0o077,
            check=False,
            user=self.uid if self.dropped else None,
            group=self.gid if self.dropped else None,
            extra_groups=[] if self.dropped else None,
        )

    def own(self, path: Path | int) -> None:
        """Give a file or directory of ours, by path or descriptor, to this account."""
        if self.dropped:
            os.chown(path, self.uid, self.gid)

    def may_enter(self, directory: Path) -> bool:
        """Whether the mode of a directory lets this account through; access lists are not looked at."""
        state = directory.stat()
        if state.st_uid == self.uid:
            return bool(state.st_mode & stat.S_IXUSR)
        if state.st_gid == self.gid:
            return bool(state.st_mode & stat.S_IXGRP)
        return bool(state.st_mode & stat.S_IXOTH)


def server_account() -> Account:
    """The account that this process runs Postgres as; as root, the system user ``llm-slo-postgres``, made where it is missing.

    :raises ServerFailed: where it cannot be made
    """
    uid = os.geteuid()
    if uid != 0:
        return Account(user_name(uid), uid, os.getegid(), dropped=False)
    entry = _entry() or _create()
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, dropped=True)


def user_name(uid: int) -> str:
    """The name of a user, or its number where it has none."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _entry() -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    return None


def _create() -> pwd.struct_passwd:
    program = shutil.which("useradd", path=f"{os.defpath}:/usr/sbin:/sbin")
    advice = "run llm-slo as a normal user, or set database_url"
    if program is None:
        raise ServerFailed(f"Postgres refuses to run as root and there is no useradd to make the user {SYSTEM_USER}: {advice}")
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    made = subprocess.run([program, *options, SYSTEM_USER], capture_output=True, text=True, check=False)
    # Another starter may have made it in between: what counts is that it is there.
    entry = _entry()
    if entry is None:
        raise ServerFailed(
            f"Postgres refuses to run as root and the user {SYSTEM_USER} cannot be made ({made.stderr.strip()}): {advice}"
        )
    return entry
