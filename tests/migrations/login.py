"""Logins in our group roles, as an administrator makes them, and what they may do."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege, WrongObjectType

from collector.schema.access import BYPASSING, Role

_ATTEMPTS = {
    "SELECT": "SELECT FROM {table} LIMIT 1",
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET {column} = DEFAULT WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
    "TRUNCATE": "TRUNCATE {table}",
}


def login(database: str, role: Role, *, name: str | None = None, options: str | None = None) -> str:
    """A connection string of a login that is a member of ``role``, made where it is missing."""
    user = name or f"login_{role}"
    with psycopg.connect(database, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [user]).fetchone() is None:
            connection.execute(f"CREATE ROLE {user} LOGIN {'BYPASSRLS' if role in BYPASSING else ''} IN ROLE {role}")
    return make_conninfo(database, user=user, **({"options": options} if options else {}))


def reader(database: str, name: str, tenants: Sequence[int]) -> str:
    """A connection string of a tenant's own reader."""
    conninfo = login(database, Role.AUDITOR, name=name)
    with psycopg.connect(database) as connection:
        for tenant in tenants:
            connection.execute("INSERT INTO tenant_readers (role_name, tenant_id) VALUES (%s, %s)", [name, tenant])
    return conninfo


def relations(database: str) -> dict[str, str]:
    """Every table, view and partition of a database, with a column that may be written."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT c.relname, min(a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')"
            " AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '' GROUP BY 1 ORDER BY 1"
        ).fetchall()
    return dict(rows)


def allowed(conninfo: str, tables: dict[str, str]) -> dict[str, set[str]]:
    """What a login may do with each table, found out by doing it."""
    found: dict[str, set[str]] = {name: set() for name in tables}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for name, column in tables.items():
            for privilege, text in _ATTEMPTS.items():
                statement = sql.SQL(text).format(table=sql.Identifier(name), column=sql.Identifier(column))
                try:
                    with connection.transaction(force_rollback=True):
                        connection.execute(statement)
                except (InsufficientPrivilege, WrongObjectType):
                    continue
                except psycopg.Error:
                    # Something else is wrong with the statement, which is looked at after the right to it.
                    pass
                found[name].add(privilege)
    return found
