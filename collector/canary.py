"""A one-token call of each replica, now and then: it catches an engine that stalls while nobody calls it.

A health check asks the process that answers; this asks the engine behind it. What comes of it is a row like any other, as a
client saw it and synthetic: counted, never in an SLO or a bill.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from time import perf_counter
from typing import NamedTuple

import aiohttp
import structlog

from collector import telemetry
from collector.errors import StoreUnavailable
from collector.event import Event, EventKind
from collector.objective import OUR_FAULT
from collector.outcome import Ending, decide
from collector.request import ObservedBy, Operation, Outcome, Request, TrafficClass
from collector.span import StatusCode
from collector.target import Canary as Setting
from collector.target import Target

FAILURES = 2
"""Failed calls in a row that are a fact: one may be chance."""
FAULTS = OUR_FAULT - {Outcome.OVERLOAD}
"""Outcomes that fail. An engine that refuses a call (401, 404), or has no room for it (429, 503), did answer."""
TOLD_AGAIN = timedelta(minutes=15)
"""A fact that lasts is told again so often: who only reads the last events still knows of it."""
MOST_EVENTS_KEPT = 100
UNNAMED_SECONDS = 5.0
"""Until an engine that has not said yet what it serves is looked at again."""
AGENT = "llm-slo canary"
_PATH = "/v1/completions"

log = structlog.get_logger()
Keep = Callable[[Request, tuple[Event, ...]], Awaitable[None]]


class Answer(NamedTuple):
    """How one call ended."""

    outcome: Outcome
    http_status: int | None
    seconds: float


class Canary:
    """Calls one target. ``model`` is asked for at each call: an engine may not have said it yet."""

    def __init__(
        self,
        target: Target,
        setting: Setting,
        client: aiohttp.ClientSession,
        model: Callable[[], str | None],
        keep: Keep,
        now: Callable[[], datetime],
        *,
        place: tuple[str, str],
    ) -> None:
        self._target = target
        self._setting = setting
        self._client = client
        self._model = model
        self._keep = keep
        self._now = now
        self._cluster, self._environment = place
        self._failures = 0
        self._told_at: datetime | None = None
        self._waiting: tuple[Event, ...] = ()

    async def probe(self) -> float:
        """One call. Returns the pause before the next [s]."""
        assert self._setting.interval_seconds is not None
        model = self._model()
        if model is None:
            return min(UNNAMED_SECONDS, self._setting.interval_seconds)
        started_at = self._now()
        answer = await self._call(model)
        # An event is seen once, so it waits for the first call whose row and events are kept.
        self._waiting = (*self._waiting, *self._events(model, answer))[-MOST_EVENTS_KEPT:]
        try:
            await self._keep(self._row(model, answer, started_at), self._waiting)
            self._waiting = ()
        except StoreUnavailable as unavailable:
            telemetry.OBSERVATIONS_DROPPED.inc()
            log.warning("a call of the canary is not kept", replica=self._target.replica_name, reason=str(unavailable))
        return self._setting.interval_seconds

    async def _call(self, model: str) -> Answer:
        start = perf_counter()
        body = {"model": model, "prompt": self._setting.prompt, "max_tokens": 1, "temperature": 0}
        timeout = aiohttp.ClientTimeout(total=self._setting.timeout_seconds)
        url = f"{self._target.url.rstrip('/')}{_PATH}"
        status = None
        try:
            async with self._client.post(
                url, json=body, headers={"User-Agent": AGENT}, timeout=timeout, allow_redirects=False
            ) as response:
                status = response.status
                await response.content.read(65_536)
            outcome = decide(Ending(StatusCode.UNSET, (), (), status))
        except TimeoutError:
            outcome = Outcome.TIMEOUT
        except aiohttp.ClientError:
            outcome = Outcome.UNAVAILABLE
        return Answer(outcome, status, perf_counter() - start)

    def _row(self, model: str, answer: Answer, started_at: datetime) -> Request:
        return Request(
            trace_id=os.urandom(16),
            span_id=os.urandom(8),
            started_at=started_at,
            ended_at=self._now(),
            observed_by=ObservedBy.CLIENT,
            tenant="llm-slo",
            operation=Operation.COMPLETION,
            traffic_class=TrafficClass.SYNTHETIC,
            requested_model=model,
            replica=self._target.replica_name,
            environment=self._target.environment or self._environment,
            cluster=self._cluster,
            max_tokens=1,
            outcome=answer.outcome,
            http_status=answer.http_status,
            latency_seconds=answer.seconds,
            # The answer is one token, so its first token is its last.
            ttft_seconds=answer.seconds if answer.outcome is Outcome.OK else None,
            dialect="canary",
            producer="llm-slo",
        )

    def _events(self, model: str, answer: Answer) -> tuple[Event, ...]:
        """The fact that it fails, now and then as long as it lasts, and that it works again."""
        now = self._now()
        self._failures = self._failures + 1 if answer.outcome in FAULTS else 0
        if self._failures == 0:
            told, self._told_at = self._told_at, None
            return () if told is None else (self._event(EventKind.CANARY_RECOVERED, model, {}),)
        if self._failures < FAILURES or (self._told_at is not None and now - self._told_at < TOLD_AGAIN):
            return ()
        self._told_at = now
        return (self._event(EventKind.CANARY_FAILED, model, {"outcome": answer.outcome.name.lower()}),)

    def _event(self, kind: EventKind, model: str, detail: dict[str, str]) -> Event:
        return Event(at=self._now(), kind=kind, replica=self._target.replica_name, model=model, detail=detail)
