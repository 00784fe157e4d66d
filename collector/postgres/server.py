"""The embedded server: started once, used by many, stopped by the last.

Who stops it? Every process that uses the server holds a share of a lock, and `Server.stop` stops the server when nobody else
holds one. A process that was killed has no share any more, so the server that it left behind is used by the next start and
stopped with it. A server that somebody started by hand on our directory has another socket: it is reported, not touched.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg import sql

from collector.config import Address, host_and_port, is_loopback
from collector.errors import ConfigError, ServerFailed
from collector.postgres.account import server_account
from collector.postgres.cluster import Listening
from collector.postgres.directory import DATABASE, ROLE, prepare, refuse_other_major
from collector.postgres.grafana import ensure_role, read_or_make_password
from collector.postgres.installation import Installation, copied, from_wheel
from collector.postgres.lock import Claim, exclusive
from collector.postgres.place import Place


class Server:
    """A running server that this process uses until `stop`.

    ``conninfo`` is the owner's, on the private socket; ``data_dir`` is where it lives; ``reused`` says that it ran already.
    """

    def __init__(self, place: Place, claim: Claim, reused: bool) -> None:
        self._place = place
        self._claim = claim
        self.conninfo = place.conninfo()
        self.data_dir = place.directory.root
        self.reused = reused

    @property
    def psql_command(self) -> str:
        """The line that a person pastes into a shell to look at the data."""
        place = self._place
        options = ["-h", str(place.directory.run), "-p", str(place.listening.port), "-U", ROLE, DATABASE]
        return shlex.join([str(place.installation.bin / "psql"), *options])

    @property
    def grafana_password_file(self) -> Path | None:
        """The file with the password of the role ``llm_slo_grafana``; None where there is no TCP port."""
        return self._place.directory.grafana_password if self._place.listening.host else None

    @property
    def pid(self) -> int | None:
        """Process id of the server, None where it is gone."""
        running = self._place.postmaster()
        return running.pid if running else None

    def stop(self) -> None:
        """Stop using the server, and stop it where nobody else uses it. Again is harmless.

        :raises ServerFailed: it runs on, after a minute
        """
        if not self._claim.held:
            return
        with exclusive(self.data_dir / "start.lock"):
            try:
                if self._claim.is_only() and self._place.postmaster() is not None:
                    self._place.stop()
            finally:
                self._claim.release()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def start(data_dir: Path, *, tcp: Address | None = None, installation: Installation | None = None) -> Server:
    """Start the server of a data directory, or use it where it runs. Blocks: a second at first, 30 ms where it runs.

    ``tcp`` is a loopback address where Grafana's role may log in with its password; ``installation`` holds the programs to run,
    those of the wheel unless given.

    :raises ForeignDataDirectory: the directory is another user's, or another major version's
    :raises AddressUnavailable: the TCP port is in use
    :raises ServerFailed: it cannot run here; the message says why
    """
    listening = _listening(tcp)
    programs = installation or from_wheel()
    account = server_account()
    directory = prepare(data_dir, account)
    with exclusive(directory.root / "start.lock"):
        claim = Claim(directory.root / "users.lock")
        try:
            place, reused = _run(Place(directory, account, programs, listening), claim)
            claim.hold()
            _settle(place)
        except (OSError, psycopg.Error, subprocess.TimeoutExpired) as error:
            claim.release()
            raise ServerFailed(f"the Postgres of {directory.root} cannot be started: {error}") from error
        except BaseException:
            claim.release()
            raise
    return Server(place, claim, reused)


def _listening(tcp: Address | None) -> Listening:
    if tcp is None:
        return Listening()
    if not is_loopback(tcp):
        raise ConfigError(f"listen.postgres: {tcp!r} is no loopback address, and the embedded Postgres has no TLS")
    return Listening(*host_and_port(tcp))


def _run(place: Place, claim: Claim) -> tuple[Place, bool]:
    """A running server, and whether it ran already. Only within the start lock."""
    if (place.directory.cluster / "PG_VERSION").exists():
        refuse_other_major(place.directory, place.installation, place.account)
    running = place.postmaster()
    if running is None:
        return place.launch(), False
    if running.run != place.directory.run:
        raise ServerFailed(
            f"a Postgres that llm-slo did not start (process {running.pid}) runs on {place.directory.cluster}: stop it first"
        )
    kept = place._replace(
        installation=copied(place.installation, place.directory.root) if place.account.dropped else place.installation,
        listening=Listening(running.listen, running.port),
    )
    if kept.listening == place.listening or (not place.listening.host and not claim.is_only()):
        return (kept, True) if kept.becomes_ready() else (place.launch(), False)
    if not claim.is_only():
        raise ServerFailed(f"another llm-slo uses {place.directory.root} with another listen.postgres: stop it first")
    kept.stop()
    return place.launch(), False


def _settle(place: Place) -> None:
    """Make the database, and Grafana's role where it may log in."""
    with psycopg.connect(place.conninfo("postgres"), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    if place.listening.host:
        password = read_or_make_password(place.directory.grafana_password)
        with psycopg.connect(place.conninfo()) as connection:
            ensure_role(connection, password)
