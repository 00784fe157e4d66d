"""Who watches what: the collectors that live, and the targets that have gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from collector.event import EventKind
from collector.sample import Health
from collector.store.connection import Database

LIVES = timedelta(seconds=15)
"""A collector whose last sign of life is older is taken for gone: three of its heartbeats."""


class RosterStore:
    """Reads and writes what collectors that share targets must agree on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def collectors(self, now: datetime) -> Sequence[str]:
        """Names of the collectors that live.

        :raises StoreUnavailable: when Postgres does not answer
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                # those that said so lately
                "SELECT name FROM collectors WHERE seen_at > %s ORDER BY name",
                (now - LIVES,),
            )
            return [str(name) for (name,) in await cursor.fetchall()]

    async def forget(self, replica: str, at: datetime) -> None:
        """A replica is no target any more: it is neither ready nor dead, and its silence means nothing.

        :raises StoreUnavailable: when Postgres did not commit
        """
        async with self._database.transaction() as connection:
            await connection.execute(
                # its last state, marked; and the fact
                """
                WITH gone AS (
                    UPDATE replica_states SET health = %(gone)s, health_status = NULL, health_since = %(at)s, zombie = false
                    FROM replicas WHERE replicas.id = replica_states.replica_id AND replicas.name = %(replica)s
                      AND health <> %(gone)s
                    RETURNING replica_states.replica_id, replica_states.model_id
                )
                INSERT INTO events (at, kind, replica_id, model_id, detail)
                SELECT %(at)s, %(kind)s, replica_id, model_id, %(detail)s FROM gone
                """,
                {
                    "gone": int(Health.GONE),
                    "at": at,
                    "replica": replica,
                    "kind": EventKind.TARGET_GONE.value,
                    "detail": Jsonb({}),
                },
            )
