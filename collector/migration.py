"""Bring a database to the schema of this code, and say whether it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.pool import StaticPool

from collector.errors import UnsuitableDatabase

OLDEST_SERVER = 140000
"""The oldest ``server_version_num`` that every statement here was written for."""

# Any number that nobody else takes on this database; llm-slo's locks start with the letters "ls".
_LOCK = 0x6C73_0001
_SCRIPTS = Path(__file__).parent.parent / "migrations"

log = structlog.get_logger()


def upgrade(conninfo: str) -> None:
    """Bring a database to the head revision, its roles and their rights too.

    Any number of processes may call it at once: one works, the others wait. Blocks; takes a direct connection, since a
    pooler that hands out transactions breaks the lock.

    :raises UnsuitableDatabase: the server is older than PostgreSQL 14, the database is newer than this code, or this login may
        not migrate it
    :raises psycopg.OperationalError: the database cannot be reached, or goes away meanwhile
    """
    with _connected(conninfo) as connection:
        # Collectors that start together would otherwise all create the same tables.
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        before, head = _revisions(connection)
        config = configuration(connection)
        # Also where no migration is due: a role may be there since that was not.
        config.attributes["protect"] = True
        try:
            command.upgrade(config, "head")
        except ProgrammingError as error:
            if not isinstance(error.orig, InsufficientPrivilege):
                raise
            raise UnsuitableDatabase(
                f"the database is at revision {before}, this llm-slo needs {head}, and this login may not migrate it: "
                "start llm-slo once as the owner of the tables"
            ) from error
        connection.commit()
        if before != head:
            log.info("database migrated", before=before, now=head)


def check(conninfo: str) -> bool:
    """Whether a database is at the head revision. Changes nothing.

    :raises UnsuitableDatabase: as for `upgrade`
    :raises psycopg.OperationalError: the database cannot be reached
    """
    with _connected(conninfo) as connection:
        before, head = _revisions(connection)
        return before == head


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration over our migrations, on a connection that stays the caller's."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connected(conninfo: str) -> Iterator[Connection]:
    # Connected to outside of SQLAlchemy, so that callers meet the driver's errors and no wrapped ones.
    own = psycopg.connect(conninfo, connect_timeout=10)
    engine = create_engine("postgresql+psycopg://", creator=lambda: own, poolclass=StaticPool)
    try:
        _refuse_old_server(own)
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        # A server that goes away in between, too: who waits for one must not end because of it.
        if isinstance(error.orig, psycopg.OperationalError):
            raise error.orig from error
        raise
    finally:
        engine.dispose()
        own.close()


def _refuse_old_server(connection: psycopg.Connection) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise UnsuitableDatabase(
            f"the database runs PostgreSQL {version // 10000}; llm-slo needs {OLDEST_SERVER // 10000} or newer"
        )


def _revisions(connection: Connection) -> tuple[str | None, str | None]:
    """What the database is at, and what this code brings it to."""
    scripts = ScriptDirectory.from_config(configuration())
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise UnsuitableDatabase(
            f"the database is at revision {current}, which this llm-slo does not know: a newer one migrated it; update llm-slo"
        )
    return current, scripts.get_current_head()
