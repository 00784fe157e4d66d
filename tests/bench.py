"""Ratios against a floor, measured in one run: ``make bench``.

Absolute times are printed for orientation only; they move with the machine. What counts is the ratio to a floor that is
measured right beside it.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from psycopg import sql
from rich.console import Console
from rich.table import Table

from collector import migration, partition, postgres, schema
from collector.assemble import assemble
from collector.config import Attributes
from collector.ingest import allow_list
from collector.normalise import Policy, normalise
from collector.objective import judge
from collector.otlp.protobuf import decode_protobuf
from collector.request import Request
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import TYPES, Judged, RequestStore
from collector.store.row import row_of
from tests.collector.example import OBJECTIVES
from tests.collector.otlp_body import body, chat_span

SPANS = 512
ROUNDS = 15
POLICY = Policy(
    retention=timedelta(days=100),
    engine_retention=timedelta(days=14),
    clock_skew=timedelta(hours=1),
    cluster="default",
    environment="production",
    attributes=Attributes(),
)


def median_seconds(work: Callable[[], object]) -> float:
    """Median of several runs after one that does not count."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return statistics.median(times)


def rows_of(data: bytes) -> list[Judged]:
    decoded = decode_protobuf(data, allow_list(POLICY))
    requests = [normalise(group, POLICY, datetime.now(UTC)) for group in assemble(decoded.spans).groups]
    return [Judged(one, judge(one, OBJECTIVES)) for one in requests if isinstance(one, Request)]


async def write_seconds(conninfo: str) -> tuple[float, float]:
    """Median seconds of one batch: by the store, and by a bare COPY of the same rows into the same table."""
    async with Database(conninfo, application="bench") as database:
        dictionary = Dictionary(database)
        store = RequestStore(database, dictionary)
        ours, floor = [], []
        for number in range(ROUNDS + 1):
            at = datetime.now(UTC)
            first, second = (batch(at, (2 * number + part) * SPANS) for part in (0, 1))
            start = perf_counter()
            await store.write(first, at)
            ours.append(perf_counter() - start)
            rows = sorted((row_of(one.request, schema.requests, dictionary, at) for one in second), key=lambda row: row[0:1])
            start = perf_counter()
            await copy(database, rows)
            floor.append(perf_counter() - start)
    return statistics.median(ours[1:]), statistics.median(floor[1:])


def batch(at: datetime, start: int) -> list[Judged]:
    return rows_of(body(chat_span(start + number, at - timedelta(microseconds=number)) for number in range(SPANS)))


async def copy(database: Database, rows: Sequence[tuple[object, ...]]) -> None:
    statement = sql.SQL("COPY requests ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.SQL(", ").join(sql.Identifier(column.name) for column in schema.requests.columns)
    )
    async with database.transaction() as connection, connection.cursor().copy(statement) as stream:
        stream.set_types([TYPES[type(column.type)] for column in schema.requests.columns])
        for row in rows:
            await stream.write_row(row)


def main() -> None:
    console = Console()
    data = body(chat_span(number, datetime.now(UTC)) for number in range(SPANS))
    parse = median_seconds(lambda: ExportTraceServiceRequest.FromString(data))
    read = median_seconds(lambda: rows_of(data))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, postgres.start(Path(directory)) as server:
        migration.upgrade(server.conninfo)
        write, floor = asyncio.run(prepare_and_write(server.conninfo))
    table = Table("stage", "µs a span", "floor", "µs a span", "ratio", title=f"{SPANS} spans a body, medians of {ROUNDS} runs")
    for name, ours, floor_name, its in (
        ("bytes → judged request", read, "protobuf parse alone (upb)", parse),
        ("judged request → commit", write, "binary COPY of the same rows", floor),
    ):
        table.add_row(name, f"{ours / SPANS * 1e6:.1f}", floor_name, f"{its / SPANS * 1e6:.1f}", f"{ours / its:.1f}")
    console.print(table)


async def prepare_and_write(conninfo: str) -> tuple[float, float]:
    async with Database(conninfo, application="bench") as database, database.connection() as connection:
        await partition.ensure(connection, datetime.now(UTC))
    return await write_seconds(conninfo)


if __name__ == "__main__":
    main()
