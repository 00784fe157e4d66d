"""Everything that a fault can hit: Postgres, collectors, alerters, an engine, and somebody who is paged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import psycopg
import yaml

from alerts.slo import load_slos
from collector.config import DATABASE_URL, Config
from tests.alerts.receiver import Receiver, receiving
from tests.chaos.engine import Engine, engine
from tests.chaos.load import Load, load
from tests.collector.port import free_address
from tests.collector.recomputation import (
    actual_rollup,
    expected_rollup,
    expected_verdicts,
    folded_verdicts,
    pulsed_verdicts,
    read_requests,
)
from tests.process import PARTS, Process, ledger, until

ENGINE_DEAD, BURN = "EngineDead", "SLOBurn"


class Site:
    """``database`` is looked at; ``way`` is how the processes connect to it."""

    def __init__(
        self,
        directory: Path,
        database: str,
        way: str,
        receiver: Receiver,
        engine: Engine,
        session: aiohttp.ClientSession,
        random: Random,
        settings: Mapping[str, Any],
        entry: Sequence[str],
    ) -> None:
        self._directory = directory
        self._database = database
        self._way = way
        self._settings = settings
        self._entry = entry
        self.receiver = receiver
        self.engine = engine
        self.session = session
        self.random = random
        self.urls: list[str] = []
        self.collectors: list[Process] = []
        self.alerters: list[Process] = []

    def add_collector(self, before: Callable[[], None] | None = None) -> Process:
        """A collector that starts. Each watches the engine."""
        listen = {name: free_address() for name in ("otlp_http", "otlp_grpc", "web")}
        one = self._process("collector", f"collector-{len(self.collectors)}", listen, listen["web"])
        self.urls.append(f"http://{listen['otlp_http']}/v1/traces")
        self.collectors.append(one)
        one.start(before)
        return one

    def add_alerter(self) -> Process:
        """An alerter that starts."""
        address = free_address()
        one = self._process("alerter", f"alerter-{len(self.alerters)}", {"alerter": address}, address)
        self.alerters.append(one)
        one.start()
        return one

    def data_dir(self, name: str) -> Path:
        """Where a process keeps what it has."""
        return self._directory / name

    def _process(self, verb: str, name: str, listen: dict[str, str], address: str) -> Process:
        document = {
            "data_dir": str(self.data_dir(name)),
            "listen": listen,
            "sinks": {"webhooks": [{"name": "hook", "url": self.receiver.url}]},
            "targets": [{"url": f"http://{self.engine.address}", "health_seconds": 0.5, "scrape_seconds": 2}],
            **self._settings,
        }
        config = self._directory / f"{name}.yaml"
        config.write_text(yaml.safe_dump(document))
        return Process(verb, config, address, {DATABASE_URL: self._way}, self._entry)

    async def ready(self) -> None:
        """Until everybody works and the engine is known to be ready."""
        await asyncio.gather(*(one.ready(self.session) for one in (*self.collectors, *self.alerters)))
        await self.engine_is_ready()

    async def engine_is_ready(self) -> None:
        """Until the engine has been seen to be ready, lately, by the collector that started last."""

        async def seen() -> bool:
            async with self._look() as look:
                cursor = await look.execute(
                    "SELECT FROM replica_states WHERE scraped_at IS NOT NULL "
                    "AND ready_at >= (SELECT max(started_at) FROM collectors) AND abs(extract(epoch FROM now() - ready_at)) < 5"
                )
                return await cursor.fetchone() is not None

        await until(seen)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Load on all collectors, until the block ends."""
        async with load(self.session, self.urls, self.random) as one:
            yield one

    async def told(self, name: str, status: str = "firing") -> None:
        """Until somebody was told of an alert of this name."""

        async def heard() -> bool:
            return (name, status) in self.receiver.told

        await until(heard)
        said = [alert for alert in self.receiver.alerts if alert["labels"]["alertname"] == name]
        assert 1 == len({(alert["fingerprint"], alert["startsAt"]) for alert in said}), said

    async def balanced(self, load: Load, *, counted: bool) -> None:
        """Wait until nothing is on its way, and compare everything with everything.

        :param counted: whether no process was killed, so that what the processes have counted is all that was sent
        """
        await until(self._settled)
        ledgers = [await ledger(self.session, one.address) for one in self.collectors]
        for sums in ledgers:
            assert sums["received"] == sum(sums[part] for part in PARTS), sums
        if counted:
            assert load.spans == sum(sums["received"] for sums in ledgers)
        assert 0 == sum(sums["pending"] for sums in ledgers)
        objectives = [slo.objective for slo in load_slos(Config())]
        async with self._look() as look:
            requests = await read_requests(look)
            found = [int.from_bytes(request.span_id, "big") - 1 for request in requests]
            assert len(found) == len(set(found))
            assert load.calls == set(found)
            cursor = await look.execute("SELECT name FROM tenants WHERE id = 0")
            ((everything,),) = await cursor.fetchall()
            assert expected_rollup(requests, everything) == await actual_rollup(look)
            expected = expected_verdicts(requests, objectives)
            assert expected == await folded_verdicts(look)
            assert expected == await pulsed_verdicts(look)

    async def _settled(self) -> bool:
        """Whether the spools are empty, nobody waits for a commit, and rollups have caught up."""
        for one in self.collectors:
            sums = await ledger(self.session, one.address)
            if sums["pending"] or sums["in_flight"]:
                return False
        async with self._look() as look:
            cursor = await look.execute("SELECT FROM rollup_marks UNION ALL SELECT FROM pulses WHERE NOT folded LIMIT 1")
            return await cursor.fetchone() is None

    @asynccontextmanager
    async def _look(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(self._database, options="-c timezone=UTC") as connection:
            yield connection

    async def close(self) -> None:
        """End everybody, within the time that a supervisor would wait."""
        running = [one for one in (*self.collectors, *self.alerters) if one.lives]
        codes = await asyncio.gather(*(one.stop() for one in running))
        assert [0] * len(running) == codes


@asynccontextmanager
async def site(
    directory: Path,
    database: str,
    random: Random,
    *,
    way: str | None = None,
    settings: Mapping[str, Any] | None = None,
    entry: Sequence[str] = ("llm_slo",),
) -> AsyncIterator[Site]:
    """A site with nobody at work yet. ``settings`` are of every process, and ``entry`` is what runs instead of llm-slo."""
    async with receiving() as receiver, engine() as one, aiohttp.ClientSession() as session:
        site = Site(directory, database, way or database, receiver, one, session, random, settings or {}, entry)
        try:
            yield site
            await site.close()
        except BaseException:
            for process in (*site.collectors, *site.alerters):
                if process.lives:
                    await process.kill()
                print(f"--- {process.log.name}\n{process.log.read_text()[-4000:]}")
            raise
