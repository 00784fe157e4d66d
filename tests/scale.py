"""Ninety days of a fleet: rollups of 100 million requests, and how long the reads over them take.

    python -m tests.scale

Hours are written as they would have been made, and days are made of them by the roller itself. Rows are written too, fewer of
them (1 in 100), so that the same answer from rows can be timed beside: what is printed for it is of so few rows.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from rich.console import Console
from rich.table import Table

from collector import migration, partition
from collector.config import Retention
from collector.reads.level import By, Plan, Selection, one_snapshot, plan, sources
from collector.reads.plan import Grain, Period, Piece, Unit, slots
from collector.reads.quantile import quantiles
from collector.reads.total import totals
from collector.request import ObservedBy
from collector.rollup.age import Kept, Step
from collector.rollup.fold import Due, fold_slice, slices_of
from collector.rollup.statement import KEY, SKETCH_NAMES, SUM_NAMES
from collector.schema import SKETCHES, requests
from collector.sketch import VERSION, sketch
from tests.server import temporary

DAYS = 90
REQUESTS = 100_000_000
ROWS = 1_000_000
ROUNDS = 5
END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = END - timedelta(days=DAYS)
_STEP = 1.3
"""Ratio of the sizes that sketches are made for."""

Connection = AsyncConnection[Any]

_SHAPE = """
CREATE TEMP TABLE leaves AS
SELECT tenant, model, CASE WHEN tenant > 16 THEN 2 ELSE 1 END AS class,
    1::float8 / (tenant + 1) / model AS weight
FROM generate_series(2, 21) AS tenant, generate_series(2, 6) AS model;
CREATE TEMP TABLE served AS
SELECT 2 + number % 5 AS model, number + 2 AS replica FROM generate_series(0, 15) AS number;
CREATE TEMP TABLE endings (outcome, share) AS VALUES (1, 0.98::float8), (3, 0.015), (8, 0.005);
"""

# Load by hour: twice as much at noon as on average, half of it at weekends.
_HOURS = f"""
INSERT INTO rollup_hour (hour, {KEY}, {SUM_NAMES}, sketch_version, {SKETCH_NAMES})
WITH hours AS (
    SELECT hour, (1 + 0.8 * sin((extract(hour FROM hour)::float8 - 6) * pi() / 12))
        * CASE WHEN extract(isodow FROM hour) > 5 THEN 0.6::float8 ELSE 1.15 END AS load
    FROM generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 hour', '1 hour') AS hour
), leaf AS (
    SELECT hour, tenant, model, class, outcome,
        %(an_hour)s * load * share * weight / (SELECT sum(weight) FROM leaves) AS n
    FROM hours, leaves, endings
), grouped AS (
    SELECT hour, 0 AS tenant, 0 AS model, 0 AS replica, class, outcome, sum(n) AS n FROM leaf GROUP BY hour, class, outcome
    UNION ALL SELECT hour, 0, model, 0, class, outcome, sum(n) FROM leaf GROUP BY hour, model, class, outcome
    UNION ALL SELECT hour, 0, model, replica, class, outcome, sum(n) / 3.2
        FROM leaf JOIN served USING (model) GROUP BY hour, model, replica, class, outcome
    UNION ALL SELECT hour, tenant, 0, 0, class, outcome, sum(n) FROM leaf GROUP BY hour, tenant, class, outcome
    UNION ALL SELECT hour, tenant, model, 0, class, outcome, n FROM leaf
)
SELECT hour, tenant, 1, 2, class, 1, grouped.model, replica, outcome, 0,
    size, size, size * 900, size * 400, size * 900, size * 210, 0, size, size, {VERSION}, {SKETCH_NAMES}
FROM grouped JOIN pool ON klass = round(ln(n) / ln({_STEP})) AND variant = (extract(hour FROM hour)::int + tenant) %% 3
    AND pool.model = greatest(grouped.model, 2)
WHERE n >= 1
"""

_ROWS = """
INSERT INTO requests (ended_at, started_at, received_at, latency_seconds, ttft_seconds, queue_seconds, sampling_weight,
    tenant_id, cluster_id, environment_id, model_id, replica_id, revision_id, producer_id, input_tokens, cached_tokens,
    output_tokens, observed_by, outcome, operation, traffic_class, token_provenance, billing_flags, span_id, trace_id)
SELECT at, at - interval '2 s', at, 2 + random(), exp(random() * 4 - 3), random() / 10, 1, 2 + (random() * 19)::int, 1, 2,
    2 + (random() * 4)::int, 2 + (random() * 15)::int, 1, 1, (random() * 1800)::int, (random() * 800)::int,
    (random() * 420)::int, 1, CASE WHEN random() < 0.98 THEN 1 ELSE 3 END, 1, 1, 1, 0,
    int8send(number), int8send(number) || int8send(number)
FROM (
    SELECT number, %(start)s::timestamptz + random() * (%(end)s::timestamptz - %(start)s::timestamptz) AS at
    FROM generate_series(%(first)s::int8, %(last)s::int8) AS number
) AS made
"""


async def generate(connection: Connection) -> None:
    """Write everything. Takes some minutes."""
    await connection.execute(_SHAPE)
    for table in ("tenants", "models", "replicas", "environments"):
        await connection.execute(
            f"INSERT INTO {table} (id, name) SELECT id, '{table}-' || id FROM generate_series(2, 21) AS id"
        )
    await _pool(connection)
    for day in range(DAYS):
        start = START + timedelta(days=day)
        await connection.execute(_HOURS, {"start": start, "end": start + timedelta(days=1), "an_hour": REQUESTS / DAYS / 24})
    await connection.commit()
    await partition.ensure_days(connection, requests, [(START + timedelta(days=day)).date() for day in range(DAYS)])
    part = ROWS // DAYS
    for day in range(DAYS):
        start = START + timedelta(days=day)
        values = {"start": start, "end": start + timedelta(days=1), "first": day * part, "last": (day + 1) * part - 1}
        await connection.execute(_ROWS, values)
    await connection.commit()


async def _pool(connection: Connection) -> None:
    """Sketches of every size, three of each for every model."""
    columns = ", ".join(f"{name}_buckets int2[], {name}_counts int4[]" for name in SKETCHES)
    await connection.execute(f"CREATE TEMP TABLE pool (model int, klass int, variant int, size int8, {columns})")
    dice = random.Random(1)
    async with connection.cursor().copy("COPY pool FROM STDIN") as copy:
        for model in range(2, 7):
            for klass in range(round(math.log(REQUESTS / DAYS / 24 * 4) / math.log(_STEP)) + 1):
                size = round(_STEP**klass)
                for variant in range(3):
                    await copy.write_row((model, klass, variant, size, *_sketches(dice, model, size)))


def _sketches(dice: random.Random, model: int, size: int) -> list[list[int]]:
    seen = min(size, 4000)
    arrays: list[list[int]] = []
    for number in range(len(SKETCHES)):
        middle = math.log(0.3 * model) if number < 4 else math.log(900)
        counts = sketch(dice.lognormvariate(middle, 0.7) for _ in range(seen))
        arrays += [sorted(counts), [max(1, counts[index] * size // seen) for index in sorted(counts)]]
    return arrays


async def make_days(connection: Connection) -> list[float]:
    """Make every day of its hours, as the roller does; the seconds that each transaction took."""
    kept = Kept(END + timedelta(hours=1), Retention())
    took = []
    for day in range(DAYS):
        due = Due(Step.DAY, START + timedelta(days=day), 1)
        slices = await slices_of(connection, due)
        for slice in range(slices):
            begin = perf_counter()
            await fold_slice(connection, due, kept, slices, slice)
            await connection.commit()
            took.append(perf_counter() - begin)
    return took


class Reading(NamedTuple):
    """One thing that a board or a report asks."""

    name: str
    by: tuple[By, ...]
    unit: Unit | None
    zone: str = "UTC"
    quantity: str | None = None
    tenants: tuple[int, ...] | None = None


READINGS = (
    Reading("fleet, p50 and p99 of TTFT by day", (), Unit.DAY, quantity="ttft_seconds"),
    Reading("fleet, p99 of TTFT by hour", (), Unit.HOUR, quantity="ttft_seconds"),
    Reading("fleet, requests by hour and outcome", (By.OUTCOME,), Unit.HOUR),
    Reading("usage by tenant and month", (By.TENANT, By.OUTCOME, By.BILLING_FLAGS), Unit.MONTH),
    Reading("usage by tenant and day", (By.TENANT, By.OUTCOME, By.BILLING_FLAGS), Unit.DAY),
    Reading("usage by tenant and model and day", (By.TENANT, By.MODEL, By.OUTCOME, By.BILLING_FLAGS), Unit.DAY),
    Reading("usage by tenant and day, Berlin", (By.TENANT, By.OUTCOME, By.BILLING_FLAGS), Unit.DAY, "Europe/Berlin"),
    Reading("p99 of TTFT by tenant", (By.TENANT,), None, quantity="ttft_seconds"),
    Reading("p99 of TTFT by tenant and day", (By.TENANT,), Unit.DAY, quantity="ttft_seconds"),
    Reading("p99 of TTFT by model and day", (By.MODEL,), Unit.DAY, quantity="ttft_seconds"),
    Reading("p99 of latency by replica and day", (By.REPLICA,), Unit.DAY, quantity="latency_seconds"),
    Reading("one tenant, p99 by day, Berlin", (), Unit.DAY, "Europe/Berlin", "ttft_seconds", (2,)),
    Reading("context length, p99 by model", (By.MODEL,), None, quantity="context_tokens"),
)


async def measure(connection: Connection) -> Table:
    """Every reading, with what it was read from."""
    table = Table("over 90 days", "read from", "rows read", "median ms", f"from {ROWS:,} rows, ms", title="Reads")
    period = Period(START, END)
    for reading in READINGS:
        selection = Selection(observed_by=ObservedBy.GATEWAY, tenants=reading.tenants)
        cut = [period] if reading.unit is None else slots(period, reading.unit, ZoneInfo(reading.zone))

        async def whole(reading: Reading = reading, cut: Sequence[Period] = cut, selection: Selection = selection) -> Plan:
            sketches = reading.quantity is not None
            how = await plan(connection, cut, selection, reading.by, now=END, retention=Retention(), sketches=sketches)
            await _answer(connection, how, selection, reading)
            return how

        async with one_snapshot(connection):
            how = await whole()
            milliseconds = await _median(whole)
            rows = await _rows(connection, how, selection)
            from_rows = how._replace(pieces=[Piece(Grain.ROW, START, END)])
            begin = perf_counter()
            await _answer(connection, from_rows, selection, reading)
            raw = 1000 * (perf_counter() - begin)
        table.add_row(reading.name, ", ".join(how.grains), f"{rows:,}", f"{milliseconds:.0f}", f"{raw:.0f}")
    return table


async def _answer(connection: Connection, how: Plan, selection: Selection, reading: Reading) -> None:
    if reading.quantity is None:
        await totals(connection, how, selection, reading.by)
    else:
        await quantiles(connection, how, selection, reading.by, reading.quantity, (0.5, 0.99))


async def _median(work: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(ROUNDS):
        begin = perf_counter()
        await work()
        times.append(1000 * (perf_counter() - begin))
    return statistics.median(times)


async def _rows(connection: Connection, how: Plan, selection: Selection) -> int:
    parts, values = sources(how, selection)
    counts = " + ".join(f"(SELECT count(*) FROM {part.table} WHERE {part.where})" for part in parts)
    row = await (await connection.execute(f"SELECT {counts}", values)).fetchone()
    assert row is not None
    return int(row[0])


async def run(conninfo: str, console: Console) -> None:
    options = "-c timezone=UTC"
    async with await AsyncConnection.connect(conninfo, options=options) as connection:
        begin = perf_counter()
        await generate(connection)
        console.print(f"hours and rows written in {perf_counter() - begin:.0f} s")
        took = await make_days(connection)
        console.print(f"days made in {len(took)} transactions: median {statistics.median(took):.2f} s, most {max(took):.2f} s")
        await connection.set_autocommit(True)
        await connection.execute("VACUUM ANALYZE")
        sizes = await connection.execute(
            "SELECT relname, pg_size_pretty(pg_total_relation_size(oid)), reltuples::int8 FROM pg_class"
            " WHERE relname IN ('rollup_hour', 'rollup_day')"
        )
        for name, size, rows in await sizes.fetchall():
            console.print(f"{name}: {rows:,} rows, {size}")
        console.print(await measure(connection))


if __name__ == "__main__":
    with temporary() as server:
        migration.upgrade(server.conninfo)
        asyncio.run(run(server.conninfo, Console(width=140)))
