"""Requests and ledgers that several tests start from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, sql

from collector.objective import Objective, Sli, judge
from collector.request import ObservedBy, Outcome, Request
from collector.store.request import Judged

OBJECTIVES = (Objective(Sli.AVAILABILITY), Objective(Sli.TTFT, 0.5))


def request(number: int, ended_at: datetime, **fields: Any) -> Request:
    """The ``number``-th request; equal numbers and times make equal keys."""
    defaults: dict[str, Any] = {
        "tenant": f"tenant-{number % 3}",
        "requested_model": "tiny",
        "replica": f"vllm-{number % 2}",
        "environment": "production",
        "cluster": "default",
        "outcome": Outcome.OK,
        "input_tokens": 100 + number,
        "cached_tokens": 64,
        "output_tokens": 10 + number % 7,
        "ttft_seconds": 0.05 * (1 + number % 20),
        "latency_seconds": 2.0,
        "dialect": "test",
        "observed_by": ObservedBy.GATEWAY,
    }
    return Request(
        trace_id=number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        started_at=ended_at - timedelta(seconds=2),
        ended_at=ended_at,
        **(defaults | fields),
    )


def judged(requests: Sequence[Request], objectives: Sequence[Objective] = OBJECTIVES) -> list[Judged]:
    return [Judged(one, judge(one, objectives)) for one in requests]


def now() -> datetime:
    return datetime.now(UTC)


async def rows(connection: AsyncConnection[Any], table: str, columns: str = "*", order: str = "1") -> list[tuple[Any, ...]]:
    """Everything in a table, ordered."""
    cursor = await connection.execute(
        sql.SQL("SELECT {} FROM {} ORDER BY {}").format(sql.SQL(columns), sql.Identifier(table), sql.SQL(order))
    )
    return await cursor.fetchall()


async def everything(connection: AsyncConnection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """What a resend must not change: rows, pulses and rollups."""
    return {
        "requests": await rows(connection, "requests", order="ended_at, span_id"),
        "engine_requests": await rows(connection, "engine_requests", order="ended_at, span_id"),
        "pulses": await rows(connection, "pulses", "second, stream_id, good, bad", "1, 2"),
        "slo_minute": await rows(connection, "slo_minute", order="1, 2"),
        "rollup_minute": await rows(
            connection,
            "rollup_minute",
            order="minute, tenant_id, observed_by, model_id, replica_id, outcome, billing_flags",
        ),
    }
