"""What each role may and may not do, tried as logins on every table, view and partition."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from alembic import command
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import create_engine
from structlog.testing import capture_logs

from collector import migration, partition
from collector.config import Retention
from collector.errors import UnsuitableDatabase
from collector.schema import requests
from collector.schema.access import BYPASSING, FUNCTIONS, RIGHTS, SETTINGS, Role
from tests.conftest import Databases
from tests.migrations.login import allowed, login, relations
from tests.server import temporary


@pytest.mark.parametrize("role", Role)
def test_every_table_view_and_partition_allows_a_role_what_is_declared_and_no_more(any_database: str, role: Role) -> None:
    with psycopg.connect(any_database) as connection:
        connection.execute("CREATE VIEW everything AS SELECT * FROM requests")
    tables = relations(any_database)
    assert {"requests", "everything", "tokens", "alembic_version"} <= tables.keys()
    assert len([name for name in tables if name.startswith("requests_2")]) == 4
    writable = login(any_database, role, options="-c default_transaction_read_only=off")
    assert {name: set(RIGHTS[role].get(name, ())) for name in tables} == allowed(writable, tables)


def test_declared_rights_give_readers_nothing_but_reading_and_hide_tokens_from_them() -> None:
    for role in (Role.GRAFANA, Role.AUDITOR):
        assert {privilege for privileges in RIGHTS[role].values() for privilege in privileges} == {"SELECT"}
        assert not {"tokens", "fragments", "alembic_version"} & RIGHTS[role].keys()
    assert {"SELECT"} == RIGHTS[Role.COLLECTOR]["tokens"]
    assert {"alerts", "outbox", "flips", "mutes"} == {
        name for name, rights in RIGHTS[Role.ALERTER].items() if "INSERT" in rights
    }


async def test_a_collector_s_login_makes_and_drops_partitions_that_it_does_not_own(any_database: str) -> None:
    now = datetime.now(UTC)
    async with await AsyncConnection.connect(login(any_database, Role.COLLECTOR)) as connection:
        await partition.ensure_days(connection, requests, [now.date() + timedelta(days=9), now.date() - timedelta(days=200)])
        dropped = await partition.drop_expired(connection, now, Retention())
    assert (partition.partition_name(requests, now.date() - timedelta(days=200)),) == dropped.partitions
    assert partition.partition_name(requests, now.date() + timedelta(days=9)) in relations(any_database)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT make_partition('tokens', '2020-01-01')", psycopg.errors.RaiseException),
        ("SELECT make_partition('pg_class', '2020-01-01')", psycopg.errors.RaiseException),
        ("DROP TABLE requests", InsufficientPrivilege),
        ("SELECT drop_partition(null)", None),
        ("SELECT drop_partition('tokens')", None),
        ("SELECT drop_partition('requests')", None),
    ],
)
def test_a_collector_s_login_can_drop_nothing_but_partitions(
    any_database: str, statement: str, error: type[Exception] | None
) -> None:
    before = relations(any_database)
    with psycopg.connect(login(any_database, Role.COLLECTOR), autocommit=True) as connection:
        if error is None:
            connection.execute(statement)
        else:
            with pytest.raises(error):
                connection.execute(statement)
    assert before == relations(any_database)


@pytest.mark.parametrize("role", set(Role) - FUNCTIONS.keys())
def test_other_roles_cannot_call_what_runs_as_the_owner(any_database: str, role: Role) -> None:
    for call in ("make_partition('requests', '2020-01-01')", "drop_partition('requests_20200101')"):
        with pytest.raises(InsufficientPrivilege), psycopg.connect(login(any_database, role)) as connection:
            connection.execute(f"SELECT {call}")


def test_group_roles_may_not_log_in_and_have_the_attributes_that_are_declared(any_database: str) -> None:
    with psycopg.connect(any_database) as connection:
        rows = connection.execute(
            "SELECT rolname, rolcanlogin, rolbypassrls, rolsuper OR rolcreaterole OR rolcreatedb, coalesce(rolconfig, '{}')"
            " FROM pg_roles WHERE rolname = ANY(%s)",
            [list(Role)],
        ).fetchall()
    assert {
        (role, False, role in BYPASSING, False, frozenset(f"{key}={value}" for key, value in SETTINGS.get(role, {}).items()))
        for role in Role
    } == {(*row[:4], frozenset(row[4])) for row in rows}


def test_another_start_writes_nothing(database: str) -> None:
    def versions() -> list[tuple[object, ...]]:
        with psycopg.connect(database) as connection:
            return connection.execute(
                "SELECT relname, xmin::text FROM pg_class UNION ALL SELECT polname, xmin::text FROM pg_policy ORDER BY 1, 2"
            ).fetchall()

    before = versions()
    migration.upgrade(database)
    assert before == versions()


def test_rights_that_somebody_gave_or_took_by_hand_are_put_right_by_the_next_start(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("GRANT ALL ON tokens TO llm_slo_auditor")
        connection.execute("REVOKE SELECT ON requests FROM llm_slo_grafana")
        connection.execute("DROP POLICY own_tenants ON requests")
        connection.execute("ALTER POLICY every_tenant ON snapshots TO llm_slo_grafana, llm_slo_auditor")
        connection.execute("ALTER TABLE rollup_minute DISABLE ROW LEVEL SECURITY")
    migration.upgrade(database)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT has_table_privilege('llm_slo_auditor', 'tokens', 'SELECT'),"
            " has_table_privilege('llm_slo_grafana', 'requests', 'SELECT'),"
            " (SELECT relrowsecurity FROM pg_class WHERE relname = 'rollup_minute'),"
            " (SELECT count(*) FROM pg_policies WHERE policyname = 'own_tenants' AND tablename = 'requests'),"
            " (SELECT roles::text[] FROM pg_policies WHERE policyname = 'every_tenant' AND tablename = 'snapshots')"
        ).fetchone()
    assert (False, True, True, 1, ["llm_slo_alerter", "llm_slo_collector", "llm_slo_grafana"]) == rows


def test_what_earlier_versions_gave_grafana_is_taken_back(database: str) -> None:
    _downgrade(database, "0001")
    with psycopg.connect(database) as connection:
        assert [] == connection.execute("SELECT relname FROM pg_class WHERE relrowsecurity").fetchall()
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO llm_slo_grafana")
        connection.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO llm_slo_grafana")
    migration.upgrade(database)
    tables = relations(database)
    granted = {name for name, privileges in allowed(login(database, Role.GRAFANA), tables).items() if privileges}
    assert RIGHTS[Role.GRAFANA].keys() == granted
    with psycopg.connect(database) as connection:
        assert [] == connection.execute("SELECT FROM pg_default_acl").fetchall()


def _downgrade(database: str, revision: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database))
    with engine.connect() as connection:
        command.downgrade(migration.configuration(connection), revision)
        connection.commit()
    engine.dispose()


def test_a_login_that_may_not_migrate_says_so_in_one_line(database: str) -> None:
    collector = login(database, Role.COLLECTOR)
    migration.upgrade(collector)
    _downgrade(database, "0001")
    with psycopg.connect(database) as connection:
        connection.execute("GRANT SELECT ON alembic_version TO llm_slo_collector")
    with pytest.raises(UnsuitableDatabase, match=r"^the database is at revision 0001.* as the owner of the tables$"):
        migration.upgrade(collector)


@pytest.fixture
def other_server() -> Iterator[Databases]:
    """A server where nobody made our roles yet."""
    with temporary() as server:
        yield Databases(server)


def test_roles_that_a_login_may_not_make_are_left_out_until_somebody_makes_them(other_server: Databases) -> None:
    server = other_server.server.conninfo
    with psycopg.connect(server, autocommit=True) as administrator:
        administrator.execute("CREATE ROLE managed LOGIN")
        administrator.execute("CREATE DATABASE managed OWNER managed")
    managed = make_conninfo(server, dbname="managed", user="managed")
    with capture_logs() as said:
        migration.upgrade(managed)
    assert migration.check(managed)
    ((event, statements),) = [(line["event"], line["statements"]) for line in said if line["log_level"] == "warning"]
    assert "this login may not make all roles" in event
    assert [f"CREATE ROLE {role} NOLOGIN{' BYPASSRLS' if role in BYPASSING else ''}" for role in Role] == [
        statement for statement in statements.split("; ") if statement.startswith("CREATE")
    ]
    with psycopg.connect(server, autocommit=True) as administrator:
        for statement in statements.split("; "):
            administrator.execute(statement)
    migration.upgrade(managed)
    tables = relations(managed)
    for role in Role:
        assert {name: set(RIGHTS[role].get(name, ())) for name in tables} == allowed(
            login(make_conninfo(server, dbname="managed"), role, options="-c default_transaction_read_only=off"), tables
        )


def test_databases_of_one_server_that_are_migrated_at_once_share_the_roles(other_server: Databases) -> None:
    server, names = other_server.server.conninfo, [f"together_{number}" for number in range(4)]
    with psycopg.connect(server, autocommit=True) as administrator:
        for name in names:
            administrator.execute(f"CREATE DATABASE {name}")
    forks = multiprocessing.get_context("fork")
    together = [forks.Process(target=migration.upgrade, args=(make_conninfo(server, dbname=name),)) for name in names]
    for process in together:
        process.start()
    for process in together:
        process.join()
    assert [0] * len(names) == [process.exitcode for process in together]
    for name in names:
        conninfo = make_conninfo(server, dbname=name)
        tables = relations(conninfo)
        assert {name: set(RIGHTS[Role.ALERTER].get(name, ())) for name in tables} == allowed(
            login(conninfo, Role.ALERTER), tables
        )
