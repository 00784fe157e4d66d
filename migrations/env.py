"""Alembic's environment: runs the migrations on the connection that the caller hands over.

``collector.migration`` passes a connection in ``config.attributes``; the ``alembic`` command line connects to
``LLM_SLO_DATABASE_URL``. The first also asks for roles and rights, with the attribute ``protect``.
"""

from __future__ import annotations

import os

import psycopg
from alembic import context
from sqlalchemy import Connection, create_engine

from collector.schema import PARTITIONED, metadata
from migrations.access import protect
from migrations.autogenerate import complete


def _include(_: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    """Leave the daily partitions out: they are made ahead and dropped by retention, not by migrations."""
    return not (kind == "table" and reflected and compare_to is None and _is_partition(name or ""))


def _is_partition(name: str) -> bool:
    parent, _, day = name.rpartition("_")
    return parent in PARTITIONED and day.isdigit()


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=_include,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
        process_revision_directives=complete,
    )
    with context.begin_transaction():
        context.run_migrations()
    if context.config.attributes.get("protect"):
        protect(connection)


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _run(handed_over)
else:
    database = os.environ["LLM_SLO_DATABASE_URL"]
    with create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database)).connect() as own:
        _run(own)
