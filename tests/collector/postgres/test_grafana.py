"""Grafana's way in: a loopback TCP port, one role, one password."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from collector import migration
from collector.errors import AddressUnavailable, ConfigError, ServerFailed
from collector.postgres import start
from collector.postgres.grafana import ROLE as GRAFANA_ROLE
from tests.collector.postgres.launch import forked, value


def test_grafana_reads_over_tcp_with_its_password_and_nobody_else_gets_in(data_dir: Path) -> None:
    port = _free_port()
    with start(data_dir, tcp=f"127.0.0.1:{port}") as server:
        migration.upgrade(server.conninfo)
        file = server.grafana_password_file
        assert file is not None
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        grafana = make_conninfo(
            host="127.0.0.1", port=port, user=GRAFANA_ROLE, dbname="llm_slo", password=file.read_text().strip()
        )
        assert value(grafana, "SELECT name FROM tenants WHERE id = 0") == "*"
        assert value(grafana, "SHOW statement_timeout") == "30s"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), psycopg.connect(grafana) as connection:
            connection.execute("CREATE TABLE mine (x int)")
        writable = make_conninfo(grafana, options="-c default_transaction_read_only=off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(writable) as connection:
            connection.execute("DELETE FROM tenants")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(grafana) as connection:
            connection.execute("SELECT FROM tokens")
        for wrong in ({"password": "wrong"}, {"user": "llm_slo"}, {"dbname": "postgres"}):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(make_conninfo(grafana, **wrong))


def test_the_password_of_grafana_outlives_a_restart(data_dir: Path) -> None:
    tcp = f"127.0.0.1:{_free_port()}"
    seen = []
    for _ in range(2):
        with start(data_dir, tcp=tcp) as server:
            assert server.grafana_password_file is not None
            seen.append(server.grafana_password_file.read_text())
    assert seen[0] == seen[1]


def test_a_server_with_the_same_port_is_used(data_dir: Path) -> None:
    tcp = f"127.0.0.1:{_free_port()}"
    with start(data_dir, tcp=tcp) as first, start(data_dir, tcp=tcp) as second:
        assert (second.reused, second.pid) == (True, first.pid)


def test_a_server_that_nobody_uses_is_started_again_for_another_port(data_dir: Path) -> None:
    def start_and_die() -> None:
        start(data_dir)

    forked(start_and_die)
    with start(data_dir, tcp=f"127.0.0.1:{_free_port()}") as server:
        assert not server.reused
        assert value(server.conninfo, "SHOW listen_addresses") == "127.0.0.1"


def test_a_server_in_use_is_not_restarted_for_another_port(data_dir: Path) -> None:
    with start(data_dir) as server:
        with pytest.raises(ServerFailed, match="stop it first"):
            start(data_dir, tcp=f"127.0.0.1:{_free_port()}")
        assert value(server.conninfo, "SELECT 1") == 1


def test_a_taken_port_is_named(new_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=rf"listen\.postgres.*127\.0\.0\.1:{port}"):
            start(new_directory, tcp=f"127.0.0.1:{port}")


def test_an_address_beyond_loopback_is_refused(new_directory: Path) -> None:
    with pytest.raises(ConfigError, match="no TLS"):
        start(new_directory, tcp="0.0.0.0:5433")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
