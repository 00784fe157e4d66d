"""The role that Grafana reads with, over the loopback TCP port."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import psycopg
from psycopg import sql

ROLE = "llm_slo_grafana"


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
    """Make the role, or bring it up to date: it may log in and read our tables, those still to be made too."""
    role = sql.Identifier(ROLE)
    # Hashed here, so that no log of the server can hold the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
    with connection.transaction():
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        for statement in (
            "ALTER ROLE {} LOGIN NOSUPERUSER CONNECTION LIMIT 20 PASSWORD {}",
            "ALTER ROLE {} SET default_transaction_read_only = on",
            "ALTER ROLE {} SET statement_timeout = '30s'",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {}",
        ):
            connection.execute(sql.SQL(statement).format(role, sql.Literal(verifier)))
