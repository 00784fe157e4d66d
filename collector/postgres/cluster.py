"""The cluster: made once, and its settings written before every start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from collector.errors import ServerFailed
from collector.postgres.account import Account
from collector.postgres.directory import DATABASE, ROLE, Directory, remove_partial
from collector.postgres.grafana import ROLE as GRAFANA_ROLE
from collector.postgres.installation import Installation

_INCLUDED = "llm-slo.conf"

# For a collector, an alerter and Grafana on a machine that does other things too. fsync stays on.
_SETTINGS = """\
# Written by llm-slo at every start. ALTER SYSTEM SET wins over this file.
max_connections = 60
shared_buffers = 256MB
work_mem = 16MB
maintenance_work_mem = 128MB
max_wal_size = 2GB
timezone = 'UTC'
log_timezone = 'UTC'
# Small /dev/shm of containers, and logins that end, take POSIX shared memory away from a running server.
dynamic_shared_memory_type = mmap
# A file per weekday, so that a log never fills the disk.
logging_collector = on
log_directory = 'log'
log_filename = 'postgres-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
log_line_prefix = '%m [%p] '
"""


class Listening(NamedTuple):
    """Where the server listens: always on its socket, and on a loopback port where ``host`` is not empty."""

    host: str = ""
    port: int = 5432


def create(directory: Directory, installation: Installation, account: Account) -> None:
    """Make the cluster, unless it is there; a start that was killed half way leaves nothing that looks like one."""
    if directory.cluster.exists():
        return
    partial = directory.root / "postgres.partial"
    remove_partial(partial)
    partial.mkdir(mode=0o700)
    account.own(partial)
    made = account.run(
        [str(installation.bin / "initdb"), "-D", str(partial), "-U", ROLE, "-A", "trust", "--encoding=UTF8", "--locale=C"]
    )
    if made.returncode:
        raise ServerFailed(f"initdb failed in {partial}: {made.stdout.strip()}")
    with (partial / "postgresql.conf").open("a") as settings:
        settings.write(f"\ninclude_if_exists = '{_INCLUDED}'\n")
    partial.rename(directory.cluster)


def configure(directory: Directory, account: Account, listening: Listening) -> None:
    """Write the settings and who may connect: everybody who can reach the private socket, and over TCP Grafana's role only."""
    access = ["local all all trust"]
    if listening.host:
        access += [f"host {DATABASE} {GRAFANA_ROLE} {network} scram-sha-256" for network in ("127.0.0.0/8", "::1/128")]
    for name, text in ((_INCLUDED, _SETTINGS), ("pg_hba.conf", "\n".join(access) + "\n")):
        _write(directory.cluster / name, text, account)


def _write(path: Path, text: str, account: Account) -> None:
    """Replace a file of the cluster; never through a link, since the directory is not root's."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
        account.own(file.fileno())
    fresh.rename(path)
