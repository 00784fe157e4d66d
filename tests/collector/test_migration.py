"""Bringing a database to the schema of this code."""

from __future__ import annotations

import multiprocessing

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from collector import migration
from collector.errors import UnsuitableDatabase
from collector.schema import ALL, DICTIONARIES, UNKNOWN


def _head() -> str | None:
    return ScriptDirectory.from_config(migration.configuration()).get_current_head()


def test_an_empty_database_is_brought_to_the_head_and_again_changes_nothing(empty_database: str) -> None:
    assert not migration.check(empty_database)
    migration.upgrade(empty_database)
    assert migration.check(empty_database)
    migration.upgrade(empty_database)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(_head(),)]


def test_collectors_that_start_together_migrate_once(empty_database: str) -> None:
    forks = multiprocessing.get_context("fork")
    collectors = [forks.Process(target=migration.upgrade, args=(empty_database,)) for _ in range(4)]
    for collector in collectors:
        collector.start()
    for collector in collectors:
        collector.join()
    assert [collector.exitcode for collector in collectors] == [0, 0, 0, 0]
    assert migration.check(empty_database)


def test_no_lock_and_no_connection_stays_behind(empty_database: str) -> None:
    migration.upgrade(empty_database)
    with psycopg.connect(empty_database) as connection:
        locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        others = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert (locks, others) == ((0,), (0,))


def test_every_dictionary_begins_with_the_reserved_names(any_database: str) -> None:
    with psycopg.connect(any_database) as connection:
        for table in DICTIONARIES:
            rows = connection.execute(f"SELECT id, name FROM {table.name} ORDER BY id").fetchall()
            assert rows == [(ALL, "*"), (UNKNOWN, "unknown")]


def test_a_database_newer_than_this_code_is_refused_in_one_line(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for act in (migration.upgrade, migration.check):
        with pytest.raises(UnsuitableDatabase, match=r"^the database is at revision 9999.*update llm-slo$"):
            act(database)


def test_a_server_that_is_too_old_is_refused_in_one_line(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "OLDEST_SERVER", 990000)
    with pytest.raises(UnsuitableDatabase, match=r"^the database runs PostgreSQL 18; llm-slo needs 99 or newer$"):
        migration.upgrade(empty_database)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_database_that_cannot_be_reached_is_the_driver_s_error() -> None:
    with pytest.raises(psycopg.OperationalError):
        migration.check("host=/nonexistent dbname=none")


def test_a_database_that_goes_away_meanwhile_is_the_driver_s_error(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_away(config: Config, revision: str) -> None:
        config.attributes["connection"].execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    monkeypatch.setattr(command, "upgrade", go_away)
    with pytest.raises(psycopg.OperationalError):
        migration.upgrade(empty_database)
