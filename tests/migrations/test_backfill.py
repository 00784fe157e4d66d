"""What a database held before it had hours and days is rolled up anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
from alembic import command
from sqlalchemy import create_engine

from collector import migration

_ROW = """
INSERT INTO {} (ended_at, started_at, received_at, sampling_weight, tenant_id, cluster_id, environment_id, model_id, replica_id,
    revision_id, producer_id, observed_by, outcome, operation, traffic_class, token_provenance, span_id, trace_id {})
VALUES (%s, now(), now(), 1, 1, 1, 1, 1, 1, 1, 1, %s, 1, 1, 1, 1, %s, %s {})
"""


def test_minutes_with_rows_are_marked_by_the_migration_that_brings_hours(database: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database))
    with engine.connect() as connection:
        command.downgrade(migration.configuration(connection), "0005")
    engine.dispose()
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    with psycopg.connect(database) as connection:
        for number, (table, second, extra, value) in enumerate(
            [
                ("requests", 1, ", billing_flags", ", 0"),
                ("requests", 59, ", billing_flags", ", 0"),
                ("engine_requests", 61, "", ""),
                ("engine_requests", 119, "", ""),
            ]
        ):
            id = number.to_bytes(8, "big")
            at = minute + timedelta(seconds=second)
            connection.execute(_ROW.format(table, extra, value), (at, 1 if table == "requests" else 3, id, 2 * id))
    migration.upgrade(database)
    with psycopg.connect(database) as connection:
        marks = connection.execute("SELECT minute FROM rollup_marks ORDER BY 1").fetchall()
    assert [(minute,), (minute + timedelta(minutes=1),)] == marks
