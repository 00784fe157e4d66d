"""The role that Grafana reads with, over the loopback TCP port."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import psycopg
from psycopg import sql

from collector.schema.access import SETTINGS, Role

ROLE = Role.GRAFANA.value


def read_or_make_password(path: Path) -> str:
    """The role's password, made once and kept in a file that its owner alone can read."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        password = secrets.token_urlsafe(24)
        file.write(password + "\n")
    return password


def ensure_role(connection: psycopg.Connection, password: str) -> None:
    """Let the role log in, and make it where it is missing. What it may read comes with the migrations, as for every role."""
    role = sql.Identifier(ROLE)
    # Hashed here, so that no log of the server can hold the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
    with connection.transaction():
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        login = sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER CONNECTION LIMIT 20 PASSWORD {}")
        connection.execute(login.format(role, sql.Literal(verifier)))
        for name, value in SETTINGS[Role.GRAFANA].items():
            setting = sql.SQL("ALTER ROLE {} SET {} = {}")
            connection.execute(setting.format(role, sql.Identifier(name), sql.Literal(value)))
