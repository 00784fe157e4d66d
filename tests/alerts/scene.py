"""A fleet in a real database, watched by a real evaluator, at a time that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import psycopg

from alerts.daemon import notifiers_of
from alerts.deliver import deliver
from alerts.evaluate import Evaluator
from alerts.slo import Slo, load_slos
from alerts.store.leader import Leadership
from collector import schema
from collector.config import Config
from collector.objective import judge
from collector.request import ObservedBy, Outcome, Request
from collector.sample import Health
from collector.sink import Sinks, Webhook
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import Judged, RequestStore


class Scene:
    """``now`` is the time of everything. Requests are written the way the collector writes them."""

    def __init__(self, config: Config, database: Database) -> None:
        self.config = config
        self.database = database
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.slos: tuple[Slo, ...] = load_slos(config)
        self.dictionary = Dictionary(database)
        self.leadership = Leadership(database.conninfo, application="test")
        self._store = RequestStore(database, self.dictionary)
        self._number = 0
        self._session: aiohttp.ClientSession | None = None
        self.evaluator: Evaluator | None = None

    async def begin(self) -> Evaluator:
        """Lead, with everything read from the database."""
        connection = await self.leadership.acquire()
        assert connection is not None
        self.evaluator = Evaluator(self.config, self.slos, connection, self.now, watching_since=self.now)
        await self.evaluator.load(self.now)
        return self.evaluator

    async def serve(self, outcome: Outcome = Outcome.OK, requests: int = 5, *, seconds: int = 1, **fields: Any) -> None:
        """Write the requests of the last seconds."""
        objectives = [slo.objective for slo in self.slos]
        written = []
        for ago in range(seconds):
            for _ in range(requests):
                self._number += 1
                request = self._request(self._number, self.now - timedelta(seconds=ago), outcome=outcome, **fields)
                written.append(Judged(request, judge(request, objectives)))
        await self._store.write(written, self.now)

    def _request(self, number: int, ended_at: datetime, **fields: Any) -> Request:
        defaults: dict[str, Any] = {
            "tenant": f"tenant-{number % 2}",
            "requested_model": "llama",
            "ttft_seconds": 0.1 if fields["outcome"] is Outcome.OK else None,
            "latency_seconds": 1.0,
        }
        return Request(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            started_at=ended_at - timedelta(seconds=1),
            ended_at=ended_at,
            observed_by=ObservedBy.GATEWAY,
            dialect="test",
            **(defaults | fields),
        )

    async def pass_time(self, seconds: int, outcome: Outcome | None = Outcome.OK, requests: int = 5, **fields: Any) -> None:
        """Let seconds pass, each with its requests, a collector that lives, and an evaluation."""
        assert self.evaluator is not None
        for _ in range(seconds):
            self.now += timedelta(seconds=1)
            if outcome is not None:
                await self.serve(outcome, requests, **fields)
            await self.collector_lives()
            await self.evaluator.tick(self.now)

    async def collector_lives(self) -> None:
        """A sign of life."""
        await self.execute(
            "INSERT INTO collectors (name, version, started_at, seen_at) VALUES ('host:1', '0', %s, %s) "
            "ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at",
            (self.now - timedelta(days=1), self.now),
        )

    async def replica(
        self, name: str, health: Health, *, since: float = 600, ready_ago: float = 0, checked_ago: float = 0
    ) -> None:
        """How a replica is now; ages in seconds."""
        await self.dictionary.allocate(
            {
                schema.replicas: [(name,)],
                schema.models: [("llama",)],
                schema.environments: [("production",)],
                schema.clusters: [("default",)],
            }
        )
        row = {
            "replica_id": self.dictionary.id(schema.replicas, name),
            "model_id": self.dictionary.id(schema.models, "llama"),
            "environment_id": self.dictionary.id(schema.environments, "production"),
            "cluster_id": self.dictionary.id(schema.clusters, "default"),
            "url": f"http://{name}",
            "health": int(health),
            "health_since": self.now - timedelta(seconds=since),
            "checked_at": self.now - timedelta(seconds=checked_ago),
            "ready_at": self.now - timedelta(seconds=ready_ago),
            "scraped_at": self.now,
            "zombie": False,
        }
        await self.execute("DELETE FROM replica_states WHERE replica_id = %(replica_id)s", row)
        await self.execute(
            "INSERT INTO replica_states (replica_id, model_id, environment_id, cluster_id, url, health, health_since, "
            "checked_at, ready_at, scraped_at, zombie) VALUES (%(replica_id)s, %(model_id)s, %(environment_id)s, "
            "%(cluster_id)s, %(url)s, %(health)s, %(health_since)s, %(checked_at)s, %(ready_at)s, %(scraped_at)s, %(zombie)s)",
            row,
        )

    async def deliver(self) -> int:
        """Deliver what is due to every sink, once."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        tried = 0
        for notifier in notifiers_of(self.config, self._session, lambda: self.now):
            tried += await deliver(self.database, notifier, lambda: self.now)
        return tried

    async def execute(self, query: str, parameters: object = None) -> list[tuple[Any, ...]]:
        """Any statement, in a transaction of its own; its rows, if it has any."""
        async with self.database.transaction() as connection:
            cursor = await connection.execute(query, parameters)  # type: ignore[call-overload]  # text of a test
            return await cursor.fetchall() if cursor.description else []

    async def flips(self) -> list[tuple[str, str, str]]:
        """Name, state before and state after of every flip, in order."""
        return await self.execute("SELECT name, from_state, to_state FROM flips JOIN alerts USING (fingerprint) ORDER BY id")

    async def close(self) -> None:
        """Give the lock back."""
        await self.leadership.release()
        if self._session is not None:
            await self._session.close()


def config_of(*urls: str, **fields: Any) -> Config:
    """A configuration with a webhook per URL."""
    webhooks = tuple(Webhook(name=f"hook-{n}", url=url, timeout_seconds=2) for n, url in enumerate(urls))
    return Config(sinks=Sinks(webhooks=webhooks), **fields)


@asynccontextmanager
async def scene(conninfo: str, config: Config) -> AsyncIterator[Scene]:
    """A scene that closes what it opened."""
    async with Database(conninfo, application="test") as database:
        one = Scene(config, database)
        try:
            yield one
        finally:
            await one.close()


async def terminate(conninfo: str, pid: int) -> None:
    """End a session from outside."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
