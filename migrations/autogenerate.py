"""What autogenerate writes beside the tables: their place on Citus, and the reserved rows of the dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateTableOp, ExecuteSQLOp, MigrateOperation, MigrationScript

from collector.schema import (
    ALL,
    DICTIONARIES,
    UNKNOWN,
    api_keys,
    layouts,
    objectives,
    producers,
    requests,
    streams,
    tenant_readers,
)

_RESERVED = f"({ALL}, '*'), ({UNKNOWN}, 'unknown')"
_DICTIONARIES = {table.name for table in DICTIONARIES}
_DIMENSIONS = _DICTIONARIES | {table.name for table in (producers, api_keys, layouts, objectives, streams, tenant_readers)}


class PlaceOp(MigrateOperation):
    """A call of migrations.citus that follows a CREATE TABLE."""

    def __init__(self, call: str) -> None:
        self.call = call


@renderers.dispatch_for(PlaceOp)
def render(context: AutogenContext, operation: PlaceOp) -> str:
    """The line in the migration."""
    context.imports.add("from migrations import citus")
    return operation.call


def complete(_: MigrationContext, __: object, scripts: list[MigrationScript]) -> None:
    """Add to every CREATE TABLE what our tables need right after it; `requests` comes first, since others go by its place."""
    for script in scripts:
        upgrade = script.upgrade_ops
        if upgrade is not None:
            first = sorted(upgrade.ops, key=lambda operation: getattr(operation, "table_name", None) != requests.name)
            upgrade.ops = list(_with_sequels(first))


def _with_sequels(operations: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    for operation in operations:
        yield operation
        if not isinstance(operation, CreateTableOp):
            continue
        table = operation.table_name
        if table in _DIMENSIONS:
            yield PlaceOp(f'citus.copy_everywhere("{table}")')
        elif any(column.name == "tenant_id" for column in operation.to_table().columns):
            like = "" if table == requests.name else f', like="{requests.name}"'
            yield PlaceOp(f'citus.distribute("{table}", "tenant_id"{like})')
        if table in _DICTIONARIES:
            yield ExecuteSQLOp(f"INSERT INTO {table} (id, name) VALUES {_RESERVED}")
