"""The fleet's rollup, summed in Python, against the one that the collector makes from the same calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from collector.request import Operation, TokenProvenance
from collector.rollup import recompute
from collector.schema import requests
from tests.dashboards import fleet

MINUTES = range(18, 22)


async def test_the_collector_rolls_the_same_calls_up_to_the_same_rows(database: str) -> None:
    base = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=60)
    made = [call for call in fleet.calls() if call.minute in MINUTES]
    with psycopg.connect(database) as connection:
        fleet.write(connection, requests, [_row(base, number, call) for number, call in enumerate(made)])
    async with await AsyncConnection.connect(database, row_factory=dict_row) as connection:
        for minute in MINUTES:
            await recompute(connection, base + timedelta(minutes=minute))
        cursor = await connection.execute("SELECT * FROM rollup_minute")
        found = {_key(row): row for row in await cursor.fetchall()}
    expected = {_key(row): row for row in fleet.rolled(base, made)}
    assert expected.keys() == found.keys()
    for key, row in expected.items():
        known = {name: value for name, value in found[key].items() if name in row}
        # Calls may be added in another order.
        assert pytest.approx(row.pop("weighted_requests")) == known.pop("weighted_requests")
        assert row == known


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("minute", "tenant_id", "environment_id", "model_id", "replica_id", "observed_by", "traffic_class", "outcome")
    return tuple(row[name] for name in names)


def _row(base: datetime, number: int, call: fleet.Call) -> dict[str, Any]:
    ended_at = base + timedelta(minutes=call.minute, seconds=number % 60)
    return {
        "ended_at": ended_at,
        "started_at": ended_at - timedelta(seconds=call.latency_seconds),
        "received_at": ended_at,
        "latency_seconds": call.latency_seconds,
        "ttft_seconds": call.ttft_seconds,
        "sampling_weight": call.weight,
        "tenant_id": fleet.TENANTS[call.tenant],
        "cluster_id": 1,
        "environment_id": fleet.ENVIRONMENTS[call.environment],
        "model_id": fleet.MODELS[call.model],
        "replica_id": fleet.NOBODY if call.replica is None else fleet.REPLICAS[call.replica],
        "revision_id": 1,
        "producer_id": 1,
        "input_tokens": call.input_tokens,
        "cached_tokens": call.cached_tokens,
        "output_tokens": call.output_tokens,
        "observed_by": int(call.observed_by),
        "outcome": int(call.outcome),
        "operation": int(Operation.CHAT),
        "traffic_class": int(call.traffic_class),
        "token_provenance": int(TokenProvenance.REPORTED),
        "span_id": number.to_bytes(8, "big"),
        "trace_id": number.to_bytes(16, "big"),
        "billing_flags": 0,
    }
