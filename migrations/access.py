"""Brings roles, rights and policies to what collector.schema.access declares.

It runs after the migrations at every start, because what it works on is not the database's alone: roles belong to the whole
server, and an administrator may make one later that this login could not make. Where nothing differs, nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
import structlog
from psycopg.errors import DuplicateObject, InsufficientPrivilege, UniqueViolation
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from collector.schema.access import (
    ALL_TENANTS,
    BYPASSING,
    FUNCTIONS,
    RIGHTS,
    SETTINGS,
    TENANT_COLUMN,
    Role,
    tenant_readers,
)
from collector.schema.request import requests

_EVERY, _OWN = "every_tenant", "own_tenants"

log = structlog.get_logger()


def protect(connection: Connection) -> None:
    """Make the roles that are missing, and give every role what it should have, and no more. Only the tables' owner can.

    A role that this login may not make is left out with a warning that says what an administrator has to run.
    """
    if not _owns(connection):
        return
    roles = _make_roles(connection)
    _forget_default_privileges(connection)
    _set_rights(connection, roles)
    _set_policies(connection, roles)


def unprotect(connection: Connection) -> None:
    """Take back what `protect` did in this database. The roles stay: another database may use them."""
    for table, name, _ in _policies(connection):
        _run(connection, f"DROP POLICY {name} ON {table}")
    for table in _relations(connection, "c.relrowsecurity"):
        _run(connection, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for role, table, privilege in _granted(connection):
        _run(connection, f"REVOKE {privilege} ON {table} FROM {role}")


def _owns(connection: Connection) -> bool:
    # Whether this login is, or may act as, the owner of our tables.
    statement = "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(:table)"
    return bool(connection.scalar(sa.text(statement), {"table": requests.name}))


def _make_roles(connection: Connection) -> set[Role]:
    """The roles that are there, after those that can be made were made."""
    # The roles that there are.
    there = set(connection.scalars(sa.text("SELECT rolname FROM pg_roles")))
    missing = [role for role in Role if role not in there]
    refused = [statement for role in missing for statement in _make_role(connection, role)]
    if refused:
        log.warning(
            "this login may not make all roles of the database: whoever may runs these statements, and starts llm-slo again",
            statements="; ".join(refused),
        )
    return {Role(name) for name in connection.scalars(sa.text("SELECT rolname FROM pg_roles")) if name in set(Role)}


def _make_role(connection: Connection, role: Role) -> Iterator[str]:
    """Make a role; what could not be done, as statements for somebody who may."""
    bypass = " BYPASSRLS" if role in BYPASSING else ""
    settings = [f"ALTER ROLE {role} SET {name} = '{value}'" for name, value in SETTINGS.get(role, {}).items()]
    create = f"CREATE ROLE {role} NOLOGIN"
    if _try(connection, create + bypass, *settings):
        return
    # To make a role takes less than to make one with BYPASSRLS.
    if bypass and _try(connection, create):
        yield f"ALTER ROLE {role}{bypass}"
    else:
        yield from (create + bypass, *settings)


def _try(connection: Connection, *statements: str) -> bool:
    """Run statements, all or none; whether this login may."""
    try:
        with connection.begin_nested():
            for statement in statements:
                _run(connection, statement)
    except DBAPIError as error:
        # Another database of this server makes its roles at the same time.
        if isinstance(error.orig, (DuplicateObject, UniqueViolation)):
            return True
        if isinstance(error.orig, InsufficientPrivilege):
            return False
        raise
    return True


def _forget_default_privileges(connection: Connection) -> None:
    """Earlier versions gave Grafana every table to come, partitions too."""
    roles = connection.scalars(
        # Our roles that this login gives rights on every new table.
        sa.text(
            "SELECT DISTINCT r.rolname FROM pg_default_acl d, aclexplode(d.defaclacl) a JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE d.defaclobjtype = 'r' AND d.defaclnamespace = current_schema()::regnamespace"
            " AND d.defaclrole = current_user::regrole AND r.rolname = ANY(:roles)"
        ),
        {"roles": list(Role)},
    )
    for role in roles.all():
        _run(connection, f"ALTER DEFAULT PRIVILEGES IN SCHEMA {_schema(connection)} REVOKE ALL ON TABLES FROM {role}")


def _set_rights(connection: Connection, roles: Iterable[Role]) -> None:
    there = set(_relations(connection))
    wanted = {
        (role, table, privilege)
        for role in roles
        for table, privileges in RIGHTS[role].items()
        for privilege in privileges
        if table in there
    }
    granted = _granted(connection)
    for role, table, privilege in sorted(wanted - granted):
        _run(connection, f"GRANT {privilege} ON {table} TO {role}")
    for role, table, privilege in sorted(granted - wanted):
        _run(connection, f"REVOKE {privilege} ON {table} FROM {role}")
    schema = _schema(connection)
    for role in roles:
        if not connection.scalar(sa.text(f"SELECT has_schema_privilege('{role}', '{schema}', 'USAGE')")):
            _run(connection, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        for function in FUNCTIONS.get(role, ()):
            if not connection.scalar(sa.text(f"SELECT has_function_privilege('{role}', '{function}', 'EXECUTE')")):
                _run(connection, f"GRANT EXECUTE ON FUNCTION {function} TO {role}")


def _set_policies(connection: Connection, roles: set[Role]) -> None:
    """Row-level security on every table with a tenant, and on partitions, where it stops who was granted one by mistake."""
    there = set(_relations(connection, "NOT c.relispartition"))
    tables = [table for table in (*TENANT_COLUMN, tenant_readers.name) if table in there]
    unprotected = [*_relations(connection, "NOT c.relrowsecurity AND c.relispartition")]
    unprotected += sorted(set(_relations(connection, "NOT c.relrowsecurity")) & set(tables))
    for table in unprotected:
        _run(connection, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    known = {(table, name): held_by for table, name, held_by in _policies(connection)}
    everyone = frozenset(roles & set(ALL_TENANTS))
    for table in tables:
        own = _own_rows(connection, table)
        for name, clause, held_by in (
            (_EVERY, "FOR ALL TO {} USING (true) WITH CHECK (true)", everyone),
            (_OWN, f"FOR SELECT TO {{}} USING ({own})", frozenset(roles & {Role.AUDITOR})),
        ):
            names = ", ".join(sorted(held_by))
            if held_by and (table, name) not in known:
                _run(connection, f"CREATE POLICY {name} ON {table} {clause.format(names)}")
            elif held_by and known[table, name] != held_by:
                _run(connection, f"ALTER POLICY {name} ON {table} TO {names}")


def _own_rows(connection: Connection, table: str) -> str:
    """What is true for a reader's own rows. It goes by who the session is, which nobody can SET to somebody else."""
    if table == tenant_readers.name:
        return "role_name = current_user"
    # Citus takes no subquery in a policy; elsewhere it has the function called once per query instead of once per row.
    on_citus = connection.scalar(sa.text("SELECT true FROM pg_extension WHERE extname = 'citus'"))
    return f"{TENANT_COLUMN[table]} = ANY ({'readable_tenants()' if on_citus else '(SELECT readable_tenants())::integer[]'})"


def _granted(connection: Connection) -> set[tuple[Role, str, str]]:
    rows = connection.execute(
        # What our roles may do, on every table, view and partition of this schema.
        sa.text(
            "SELECT r.rolname, c.relname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a"
            " JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')"
            " AND r.rolname = ANY(:roles)"
        ),
        {"roles": list(Role)},
    )
    return {(Role(role), table, privilege) for role, table, privilege in rows}


def _policies(connection: Connection) -> list[tuple[str, str, frozenset[str]]]:
    """Our policies: table, name, roles that they hold for."""
    rows = connection.execute(
        # The policies that are there.
        sa.text(
            "SELECT tablename, policyname, roles FROM pg_policies"
            " WHERE schemaname = current_schema() AND policyname = ANY(:names) ORDER BY 1, 2"
        ),
        {"names": [_EVERY, _OWN]},
    )
    return [(table, name, frozenset(roles)) for table, name, roles in rows]


def _relations(connection: Connection, where: str = "true") -> Iterable[str]:
    """Names of tables and partitions of this schema."""
    statement = (
        # Tables and partitions, in order.
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace"
        f" AND c.relkind IN ('r', 'p') AND {where} ORDER BY 1"
    )
    return connection.scalars(sa.text(statement)).all()


def _schema(connection: Connection) -> str:
    return str(connection.scalar(sa.text("SELECT quote_ident(current_schema())")))


def _run(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
