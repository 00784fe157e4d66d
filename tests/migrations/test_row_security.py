"""Row-level security: what a tenant's own reader sees, and what it may try in vain."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

from collector import partition
from collector.schema import metadata, requests
from collector.schema.access import BYPASSING, RIGHTS, TENANT_COLUMN, Role, tenant_readers
from tests.migrations.login import allowed, login, reader

MINE, THEIRS, NOBODYS = 2, 3, 0


@pytest.fixture
def filled(any_database: str) -> str:
    """A database with a row of each of two tenants, and one that is all tenants', in every table that tells tenants apart."""
    with psycopg.connect(any_database) as connection:
        for id, name in ((MINE, "mine"), (THEIRS, "theirs")):
            connection.execute("INSERT INTO tenants (id, name) VALUES (%s, %s)", [id, name])
            _fill(connection, id)
        _fill(connection, NOBODYS)
    return any_database


READABLE = {table: column for table, column in TENANT_COLUMN.items() if table in RIGHTS[Role.AUDITOR]}
"""What a tenant's reader may look at, of the tables that have rows of tenants."""


def _fill(connection: psycopg.Connection, tenant: int) -> None:
    for name, column in TENANT_COLUMN.items():
        if column == "tenant_id":
            values = {part.name: _value(part.type.python_type) for part in metadata.tables[name].columns if not part.nullable}
            values["tenant_id"] = tenant
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(name),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(sql.Placeholder() * len(values)),
            )
            connection.execute(statement, list(values.values()))


def _value(kind: type) -> object:
    return {bool: True, int: 1, float: 1.0, bytes: b"1", str: "1"}[kind] if kind is not datetime else datetime.now(UTC)


def test_every_table_with_a_tenant_is_under_row_level_security_and_so_is_every_partition(any_database: str) -> None:
    with_tenant = {table.name for table in metadata.tables.values() if "tenant_id" in table.columns}
    assert with_tenant == {*TENANT_COLUMN, tenant_readers.name} - {"tenants"}
    with psycopg.connect(any_database) as connection:
        rows = connection.execute(
            "SELECT relname, relispartition FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        partitions = connection.execute(
            "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid AND relkind = 'r'"
        )
        assert partitions.fetchone() == (len([name for name, is_partition in rows if is_partition]),)
    assert {name for name, is_partition in rows if not is_partition} == with_tenant | {"tenants"}


def test_a_tenant_s_reader_sees_its_own_rows_only(filled: str) -> None:
    mine, both, none = reader(filled, "reader_mine", [MINE]), reader(filled, "reader_both", [MINE, THEIRS]), "reader_none"
    for name, column in READABLE.items():
        assert {MINE} == seen(mine, name, column)
        assert {MINE, THEIRS} == seen(both, name, column)
        assert set() == seen(reader(filled, none, []), name, column)
    assert {"reader_mine"} == seen(mine, "tenant_readers", "role_name")
    for role in (Role.GRAFANA, Role.ALERTER, Role.COLLECTOR):
        assert {NOBODYS, MINE, THEIRS} == seen(login(filled, role), "requests", "tenant_id")


def seen(conninfo: str, table: str, column: str) -> set[object]:
    with psycopg.connect(conninfo) as connection:
        statement = sql.SQL("SELECT DISTINCT {} FROM {}").format(sql.Identifier(column), sql.Identifier(table))
        return {row[0] for row in connection.execute(statement)}


def test_a_login_without_bypassrls_of_its_own_still_sees_every_row(filled: str) -> None:
    for role in BYPASSING:
        name = f"plain_{role}"
        with psycopg.connect(filled, autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
                connection.execute(f"CREATE ROLE {name} LOGIN IN ROLE {role}")
        assert {NOBODYS, MINE, THEIRS} == seen(make_conninfo(filled, user=name), "requests", "tenant_id")


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE llm_slo_grafana",
        "SET ROLE llm_slo_collector",
        "SET SESSION AUTHORIZATION reader_theirs",
        "SET row_security = off",
        "INSERT INTO tenant_readers VALUES (current_user, 3)",
        "UPDATE tenant_readers SET tenant_id = 3",
        "ALTER TABLE requests DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON requests USING (true)",
        "ALTER ROLE current_user BYPASSRLS",
        "GRANT llm_slo_grafana TO current_user",
        "CREATE OR REPLACE FUNCTION readable_tenants() RETURNS integer[] LANGUAGE sql AS 'SELECT ARRAY[2, 3]'",
        "SELECT make_partition('requests', '2020-01-01')",
        "SELECT drop_partition('requests_20200101')",
        "COPY requests FROM STDIN",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_a_reader_s_ways_around_are_refused(filled: str, statement: str) -> None:
    reader(filled, "reader_theirs", [THEIRS])
    with psycopg.connect(reader(filled, "reader_mine", [MINE]), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(InsufficientPrivilege):  # noqa: PT012 - some are refused when it is tried what they are good for
            connection.execute(statement)
            connection.execute("SELECT FROM requests")


@pytest.mark.parametrize(
    "statements",
    [
        # A table of its own in the place of the one that policies go by.
        ["CREATE TEMPORARY TABLE tenant_readers AS SELECT current_user::text AS role_name, unnest(ARRAY[2, 3]) AS tenant_id"],
        ["SET search_path = pg_temp, public", "CREATE TEMPORARY TABLE tenant_readers (role_name text, tenant_id int)"],
        ["SET ROLE llm_slo_auditor"],
        ["SET application_name = 'reader_theirs'", "SELECT set_config('llm_slo.tenant', 'theirs', false)"],
        ["CREATE TEMPORARY VIEW everything AS SELECT * FROM requests"],
        ["BEGIN", "DECLARE everything CURSOR FOR SELECT * FROM requests"],
    ],
)
def test_what_a_reader_may_set_or_make_shows_it_nothing_more(filled: str, statements: list[str]) -> None:
    with psycopg.connect(reader(filled, "reader_mine", [MINE]), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in statements:
            connection.execute(statement)
        for name, column in READABLE.items():
            statement = (
                sql.SQL("SELECT DISTINCT {} FROM public.{}").format(sql.Identifier(column), sql.Identifier(name)).as_string()
            )
            assert {row[0] for row in connection.execute(statement)} <= {MINE}


def test_a_function_of_a_reader_s_own_is_told_nothing_of_other_rows(filled: str) -> None:
    """Whatever is cheap is asked first, so a condition with side effects would see rows that the policy hides."""
    with psycopg.connect(reader(filled, "reader_mine", [MINE]), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            "CREATE FUNCTION pg_temp.tell(tenant int) RETURNS boolean LANGUAGE plpgsql COST 0.0001"
            " AS $$ BEGIN RAISE NOTICE '%', tenant; RETURN true; END $$"
        )
        told: list[str] = []
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        connection.execute("SELECT FROM requests WHERE pg_temp.tell(tenant_id)")
    assert {str(MINE)} == set(told)


async def test_a_partition_made_later_gives_nobody_anything_whatever_the_default_privileges(filled: str) -> None:
    mine, day = reader(filled, "reader_mine", [MINE]), date.today() + timedelta(days=30)
    with psycopg.connect(filled) as connection:
        for grantee in ("PUBLIC", "llm_slo_auditor", "reader_mine"):
            connection.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {grantee}")
    async with await AsyncConnection.connect(filled) as connection_of_owner:
        await partition.ensure_days(connection_of_owner, requests, [day])
    name = partition.partition_name(requests, day)
    tables = {name: "request_id"}
    assert {name: set()} == allowed(mine, tables) == allowed(login(filled, Role.GRAFANA), tables)
    with psycopg.connect(filled) as connection:
        connection.execute("UPDATE requests SET ended_at = %s", [datetime.combine(day, datetime.min.time(), UTC)])
    assert {MINE} == seen(mine, "requests", "tenant_id")


def test_a_partition_that_was_granted_by_mistake_shows_nothing(filled: str) -> None:
    mine, name = reader(filled, "reader_mine", [MINE]), partition.partition_name(requests, datetime.now(UTC).date())
    with psycopg.connect(filled) as connection:
        connection.execute(f"GRANT SELECT ON {name} TO reader_mine")
    assert set() == seen(mine, name, "tenant_id")
