"""Where tables live when the database is a Citus cluster. On plain Postgres nothing here does anything."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def distribute(table: str, column: str, like: str | None = None) -> None:
    """Spread a table over the workers by a column; tables with the same ``like`` keep the same values on the same worker."""
    call = "SELECT create_distributed_table(:table, :column, colocate_with => :like)"
    _on_citus(call, table=table, column=column, like=like or "none")


def copy_everywhere(table: str) -> None:
    """Keep a small table whole on every node, so that joins with it stay local."""
    _on_citus("SELECT create_reference_table(:table)", table=table)


def _on_citus(call: str, **parameters: str) -> None:
    connection = op.get_bind()
    if connection.scalar(sa.text("SELECT true FROM pg_extension WHERE extname = 'citus'")):
        connection.execute(sa.text(call), parameters)
