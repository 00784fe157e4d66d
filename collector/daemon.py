"""The collector: the only file that knows the order of the stages.

Receivers start first and spool until Postgres is there, so that nobody has to start things in order.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.metadata import version
from time import perf_counter

import structlog
from psycopg import OperationalError

from collector import migration, partition, telemetry
from collector.batch import Batcher
from collector.change_route import changes
from collector.clock import utc_now
from collector.close import Closer
from collector.config import Config
from collector.errors import StoreUnavailable
from collector.garbage import collect_rarely
from collector.hash_key import load_hash_key
from collector.ingest import Ingest, Replayed, allow_list
from collector.link import pair
from collector.log_ingest import LogIngest
from collector.lookout import look_out
from collector.normalise import Policy
from collector.objective import Objective
from collector.otlp.allow import Receipt
from collector.otlp.grpc import serve_grpc
from collector.otlp.http import serve_http
from collector.otlp.log import DecodedLogs, LogKeys
from collector.otlp.signal import Signal, logs, traces
from collector.rollup import coarsen, roll
from collector.schema import tenants
from collector.spool import Spool
from collector.store.connection import RETRY_AFTER_SECONDS, Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from collector.store.fragment import FragmentStore
from collector.store.link import TELLING_A_ROUND, LinkStore
from collector.store.request import RequestStore
from collector.store.token import TokenStore
from collector.token import Gate
from collector.trace import tracer
from collector.waitlist import Waitlist

HEARTBEAT_SECONDS = 5.0
TOKENS_SECONDS = 5.0
"""How soon a token that was made or revoked is known here. While Postgres is away, those count that were read last."""
CLOSE_SECONDS = 1.0
LINK_SECONDS = 1.0
MAINTENANCE_SECONDS = 600.0
ROLL_SECONDS = 2.0
ROLL_SHARE = 10
"""A round of rollups is followed by a pause of at least this many times its own duration: it must not starve ingest."""
LONGEST_BACKOFF_SECONDS = 15.0

log = structlog.get_logger()


class Collector:
    """Receives, scrapes and keeps, until it is stopped. ``ready`` is set while Postgres takes rows."""

    def __init__(self, config: Config, conninfo: str, objectives: Sequence[Objective]) -> None:
        self._config = config
        self._objectives = objectives
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.database = Database(conninfo, application="llm-slo collector")
        dictionary = Dictionary(self.database, most_new_tenants=config.limits.new_tenants_per_minute)
        self._dictionary = dictionary
        self._requests = RequestStore(self.database, dictionary)
        self._fleet = FleetStore(self.database, dictionary)
        self._batcher = Batcher(self._requests, largest_pending=config.limits.pending_spans, now=utc_now)
        self._policy = policy_of(config)
        self._spool = Spool(
            config.data_dir.expanduser() / "spool",
            largest_bytes=config.spool.max_bytes,
            longest_age=timedelta(hours=config.spool.max_age_hours),
            largest_pending=config.limits.pending_spans,
            now=utc_now,
        )
        self._waitlist = Waitlist(config.limits.waiting_spans)
        self._replayed = Replayed(RequestStore(self.database, dictionary), self._waitlist, objectives, utc_now)
        self._fragments = FragmentStore(self.database)
        self._ingest = Ingest(
            self._batcher,
            self._spool,
            self._fragments,
            self._waitlist,
            policy=self._policy,
            objectives=objectives,
            now=utc_now,
        )
        self._closer = Closer(
            self._fragments,
            RequestStore(self.database, dictionary),
            self._waitlist,
            policy=self._policy,
            objectives=objectives,
            now=utc_now,
        )
        self._log_ingest = LogIngest(self._fleet)
        self._links = LinkStore(self.database)
        self._tokens = TokenStore(self.database)
        self._gate = Gate(required=config.tokens_required, now=utc_now)
        self._changes = changes(self._fleet, self._gate, utc_now)
        self._started_at = utc_now()
        self.ready = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set. Raises OSError, with the listener's name, where a port is in use."""
        collect_rarely()
        listen, limit = self._config.listen, self._config.limits.body_bytes
        signals = self._signals()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._spool)
            tasks = await stack.enter_async_context(_Tasks())
            tasks.start(self._batcher.run())
            await stack.enter_async_context(serve_http(listen.otlp_http, signals, limit, self._gate, [self._changes]))
            await stack.enter_async_context(serve_grpc(listen.otlp_grpc, signals, limit, self._gate))
            log.info("listening", otlp_grpc=listen.otlp_grpc, otlp_http=listen.otlp_http)
            await stack.enter_async_context(self.database)
            if not await _until(stop, self._prepare):
                return
            self.ready.set()
            log.info("ready", targets=len(self._config.targets), objectives=len(self._objectives))
            tasks.start(look_out(self._config, self.database, self._fleet, self.name, utc_now))
            tasks.start(self._at_leisure("roll up", self._roll))
            tasks.start(self._at_leisure("coarsen", self._coarsen))
            tasks.start(self._spool.replay(self._replayed))
            tasks.start(_every(CLOSE_SECONDS, "close", self._closer))
            tasks.start(_every(LINK_SECONDS, "link", self._link))
            tasks.start(_every(MAINTENANCE_SECONDS, "maintenance", self._maintain))
            tasks.start(_every(HEARTBEAT_SECONDS, "heartbeat", self._beat))
            tasks.start(_every(TOKENS_SECONDS, "tokens", self._read_tokens))
            await stop.wait()
            self.ready.clear()
            log.info("stopping")

    def _signals(self) -> Sequence[Signal]:
        names = self._config.attributes
        return (
            traces(self._ingest, allow_list(self._policy)),
            logs(self._receive_logs, LogKeys(names.replica, names.model), utc_now),
        )

    async def _receive_logs(self, decoded: DecodedLogs) -> Receipt:
        if not self.ready.is_set():
            raise StoreUnavailable("the collector is not ready", RETRY_AFTER_SECONDS)
        return await self._log_ingest(decoded)

    async def _prepare(self) -> None:
        """Bring the database up to date and make what every batch needs.

        :raises StoreUnavailable: while Postgres cannot be reached
        """
        try:
            await asyncio.to_thread(migration.upgrade, self.database.conninfo)
        except OperationalError as error:
            raise StoreUnavailable(str(error).splitlines()[0], RETRY_AFTER_SECONDS) from error
        await self._maintain()
        await self._read_tokens()
        await self._requests.register(self._objectives, utc_now())

    async def _maintain(self) -> None:
        # Many transactions, each with limits of its own: the next round begins anew what this one did not get to.
        async with self.database.connection(MAINTENANCE_SECONDS) as connection:
            await partition.ensure(connection, utc_now())
            await partition.drop_expired(connection, utc_now(), self._config.retention)
        await self._links.forget(utc_now())

    async def _link(self) -> None:
        """Fill in what engines told of calls since."""
        while await self._links.join(pair, utc_now()) >= TELLING_A_ROUND:
            pass

    async def _read_tokens(self) -> None:
        tokens = await self._tokens.read()
        self._gate.learn(tokens)
        # Whom an operator named is never one too many.
        named = {(token.tenant,) for token in tokens if token.tenant is not None}
        await self._dictionary.allocate({tenants: named}, rationed=False)

    async def _beat(self) -> None:
        await self._fleet.write_heartbeat(
            self.name, version("llm-slo"), self._started_at, utc_now(), self._batcher.committed_at
        )

    async def _roll(self) -> None:
        lag = await roll(self.database, utc_now(), self._config.retention)
        telemetry.ROLLUP_LAG_SECONDS.set(lag.total_seconds())

    async def _coarsen(self) -> None:
        await coarsen(self.database, utc_now(), self._config.retention)

    async def _at_leisure(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again, with a rest after it that grows with what it took."""
        while True:
            start = perf_counter()
            try:
                # To wait for Postgres is no work, and calls for no rest: neither here nor where it fails.
                async with self.database.connection():
                    start = perf_counter()
                with tracer.start_as_current_span(name):
                    await work()
            except StoreUnavailable as unavailable:
                log.warning(f"{name} waits", reason=str(unavailable))
                start = perf_counter()
            except Exception as error:
                telemetry.LOOP_ERRORS.labels("rollup").inc()
                log.exception(f"{name} failed", error=type(error).__name__)
            await asyncio.sleep(max(ROLL_SECONDS, ROLL_SHARE * (perf_counter() - start)))


def policy_of(config: Config) -> Policy:
    """What spans are held against, as configured."""
    return Policy(
        retention=timedelta(days=config.retention.requests_days),
        engine_retention=timedelta(days=config.retention.engine_requests_days),
        clock_skew=timedelta(seconds=config.limits.clock_skew_seconds),
        cluster=config.cluster,
        environment=config.environment,
        attributes=config.attributes,
        deadline_seconds=config.ingest.deadline_seconds,
        hash_key=load_hash_key(config.privacy.hash_key_file, config.privacy.hash_key_id),
    )


class _Tasks:
    """Background tasks that are cancelled, the last first, when the collector stops."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_forward(work))
        task.add_done_callback(_report)
        self._tasks.append(task)

    async def __aenter__(self) -> _Tasks:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    """A task that ends by itself has failed, and nobody else would say so."""
    if not task.cancelled() and (error := task.exception()) is not None:
        telemetry.LOOP_ERRORS.labels("task").inc()
        log.critical("a part of the collector ended", exc_info=error)


async def _forward(work: Awaitable[None]) -> None:
    await work


async def _every(seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again; a failure is logged and counted, and does not end it."""
    while True:
        try:
            await work()
        except StoreUnavailable as unavailable:
            log.warning(f"{name} waits", reason=str(unavailable))
        except Exception as error:
            telemetry.LOOP_ERRORS.labels(name).inc()
            log.exception(f"{name} failed", error=type(error).__name__)
        await asyncio.sleep(seconds)


async def _until(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> bool:
    """Try until it works, with backoff; ``False`` when stopped before that."""
    backoff = 0.5
    while not stop.is_set():
        try:
            await work()
            return True
        except StoreUnavailable as unavailable:
            log.warning("Postgres cannot be reached; trying again", reason=str(unavailable), seconds=backoff)
        try:
            async with asyncio.timeout(backoff):
                await stop.wait()
        except TimeoutError:
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
    return False
