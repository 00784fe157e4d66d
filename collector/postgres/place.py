"""One server's place: its directory, account and programs, and the commands that work on it."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import time
from typing import NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from collector.errors import AddressUnavailable, ServerFailed
from collector.postgres.account import Account
from collector.postgres.cluster import Listening, configure, create
from collector.postgres.directory import DATABASE, ROLE, Directory
from collector.postgres.installation import Installation, copy_beside
from collector.postgres.process import Postmaster, postmaster, recorded_pid, servers, serves

_START_SECONDS = 300
_STOP_SECONDS = 60
_ORPHAN_SECONDS = 10


class Place(NamedTuple):
    """Everything that is needed to work on one server."""

    directory: Directory
    account: Account
    installation: Installation
    listening: Listening

    def conninfo(self, database: str = DATABASE) -> str:
        """How to connect as the owner of everything."""
        return make_conninfo(host=str(self.directory.run), port=self.listening.port, user=ROLE, dbname=database)

    def postmaster(self) -> Postmaster | None:
        """The server that runs here."""
        return postmaster(self.directory.cluster, self.account)

    def pg_ctl(self, *arguments: str) -> tuple[bool, str]:
        """Run pg_ctl; whether it went well, and what it said."""
        command = [str(self.installation.bin / "pg_ctl"), "-D", str(self.directory.cluster), *arguments]
        done = self.account.run(command, timeout_seconds=_START_SECONDS + 30)
        return done.returncode == 0, done.stdout.strip()

    def stop(self) -> None:
        """Stop the server: sessions are cut off, what they committed is kept.

        :raises ServerFailed: it runs on
        """
        stopped, said = self.pg_ctl("-m", "fast", "-w", "-t", str(_STOP_SECONDS), "stop")
        if not stopped and self.postmaster() is not None:
            raise ServerFailed(f"the Postgres of {self.directory.root} did not stop: {said}")
        # pg_ctl waits for the postmaster; who writes the log ends a moment later, and a busy machine makes that long.
        left = self._left_after_a_while()
        if left:
            raise ServerFailed(f"the Postgres of {self.directory.root} stopped and left processes {left}")

    def becomes_ready(self) -> bool:
        """Wait for a server that is there already, which reads its log first after a crash; False where it goes away instead.

        :raises ServerFailed: it does not answer, or it is not ours
        """
        deadline = time.monotonic() + _START_SECONDS
        while self.postmaster() is not None:
            try:
                with psycopg.connect(self.conninfo("postgres"), connect_timeout=10) as connection:
                    row = connection.execute("SHOW data_directory").fetchone()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise ServerFailed(f"the Postgres of {self.directory.root} does not answer: {error}") from error
                time.sleep(0.02)
                continue
            if row != (str(self.directory.cluster),):
                raise ServerFailed(f"the server at {self.directory.run} does not serve {self.directory.cluster}")
            return True
        return False

    def launch(self) -> Place:
        """Start a server where none runs, making its cluster first where there is none.

        :raises AddressUnavailable: its TCP port is in use
        :raises ServerFailed: with the end of its log
        """
        self._refuse_taken_port()
        self._clear_leftovers()
        place = self._replace(installation=copy_beside(self.installation, self.directory.root))
        create(self.directory, place.installation, self.account)
        configure(self.directory, self.account, self.listening)
        options = ["-h", self.listening.host, "-p", str(self.listening.port), "-k", str(self.directory.run)]
        options += ["-c", "unix_socket_permissions=0700"]
        started, said = place.pg_ctl(
            "-l", str(self.directory.start_log), "-w", "-t", str(_START_SECONDS), "-o", shlex.join(options), "start"
        )
        if not started:
            raise ServerFailed(f"Postgres did not start in {self.directory.root}: {said}\n{self._end_of_log()}".rstrip())
        return place

    def _refuse_taken_port(self) -> None:
        if not self.listening.host:
            return
        family = socket.AF_INET6 if ":" in self.listening.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.listening.host, self.listening.port))
            except OSError as error:
                address = f"{self.listening.host}:{self.listening.port}"
                raise AddressUnavailable("postgres", address, error.strerror or str(error)) from error

    def _clear_leftovers(self) -> None:
        """Remove the lock files of a server that is gone and whose process id another process has now.

        Postgres itself handles those whose process id nobody has. It would also believe any living process of its account.
        """
        # Backends of a killed postmaster end by themselves; a new server beside them would damage the cluster.
        left = self._left_after_a_while()
        if left:
            raise ServerFailed(f"processes {left} of a killed Postgres still work in {self.directory.cluster}")
        socket_lock = self.directory.run / f".s.PGSQL.{self.listening.port}.lock"
        for file in (self.directory.cluster / "postmaster.pid", socket_lock):
            pid = recorded_pid(file)
            if pid is not None and _lives(pid) and not serves(pid, self.directory.cluster, self.account):
                file.unlink(missing_ok=True)

    def _left_after_a_while(self) -> list[int]:
        """Processes that still work in the cluster when those of a server that is gone have had time to end."""
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while left := servers(self.directory.cluster, self.account):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return left

    def _end_of_log(self) -> str:
        logs = sorted((self.directory.cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        # Read by the account, since its directory could point elsewhere.
        return "\n".join(
            self.account.run(["tail", "-n", "4", str(path)]).stdout.strip()
            for path in [self.directory.start_log, *logs[-1:]]
            if path.exists()
        )


def _lives(pid: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
