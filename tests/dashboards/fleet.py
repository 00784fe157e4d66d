"""A small fleet and an hour of its traffic, always the same, in memory and in the database.

Boards read what is in the database; tests compute the same numbers from what is in memory.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy import Table

from collector.request import ObservedBy, Operation, Outcome, TrafficClass
from collector.schema import SKETCHES, environments, models, replicas, rollup_minute, snapshots, tenants
from collector.sketch import VERSION, sketch

MINUTES = 40
OUTAGE = range(20, 24)
"""Minutes in which the model *large* answers nobody."""
RESET_AT = 25
"""Minute in which the first replica restarts: its counters begin at 0 again."""

ENVIRONMENTS = {"production": 2, "staging": 3}
TENANTS = {"acme": 2, "o'brien & söhne": 3, "'; DROP TABLE tenants; --": 4}
MODELS = {"tiny": 2, "large": 3}
REPLICAS = {"tiny-0": 2, "tiny-1": 3, "large-0": 4}
SERVED_BY = {"tiny": ("tiny-0", "tiny-1"), "large": ("large-0",)}
NOBODY = 1
"""Id of "not stated": the replica of a call that reached none."""

LEVELS = ((0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0))
"""Marginals of the rollup: tenant, model, replica; 1 where they are told apart."""


class Call(NamedTuple):
    """One call as one party saw it."""

    minute: int
    tenant: str
    model: str
    replica: str | None
    environment: str
    observed_by: ObservedBy
    traffic_class: TrafficClass
    outcome: Outcome
    weight: float
    input_tokens: int
    cached_tokens: int | None
    output_tokens: int
    ttft_seconds: float | None
    latency_seconds: float

    @property
    def tpot_seconds(self) -> float | None:
        """Mean time per token after the first."""
        if self.ttft_seconds is None or self.output_tokens < 2:
            return None
        return (self.latency_seconds - self.ttft_seconds) / (self.output_tokens - 1)


class Scrape(NamedTuple):
    """One scrape; counters are there once a minute."""

    at: timedelta
    replica: str
    values: Mapping[str, float]


def calls() -> list[Call]:
    """An hour of calls: gateway rows, the client's view of some of them, and probes."""
    dice = random.Random(20)
    made = []
    for minute in range(MINUTES):
        for _ in range(30):
            call = _call(minute, dice)
            made.append(call)
            if dice.random() < 0.5:
                made.append(call._replace(observed_by=ObservedBy.CLIENT, latency_seconds=call.latency_seconds + 0.1))
        made.append(_call(minute, dice)._replace(traffic_class=TrafficClass.SYNTHETIC))
    return made


def _call(minute: int, dice: random.Random) -> Call:
    model = dice.choice(("tiny", "tiny", "large"))
    replica: str | None = dice.choice(SERVED_BY[model])
    outcome = dice.choices(
        (Outcome.OK, Outcome.TIMEOUT, Outcome.VALIDATION, Outcome.OOM, Outcome.RATE_LIMIT, Outcome.CANCELLED),
        (85, 4, 5, 2, 2, 2),
    )[0]
    if model == "large" and minute in OUTAGE:
        outcome, replica = Outcome.UNAVAILABLE, None
    ok = outcome is Outcome.OK
    ttft = dice.lognormvariate(-1.5, 0.8) if ok else None
    output = dice.randint(1, 200) if ok else 0
    latency = 60.0 + dice.random() if outcome is Outcome.TIMEOUT else (ttft or 0.01) + output * dice.uniform(0.01, 0.05)
    prompt = dice.randint(10, 4000)
    return Call(
        minute=minute,
        tenant=dice.choice(list(TENANTS)),
        model=model,
        replica=replica,
        environment="staging" if dice.random() < 0.1 else "production",
        observed_by=ObservedBy.GATEWAY,
        traffic_class=dice.choice((TrafficClass.INTERACTIVE, TrafficClass.BATCH)),
        outcome=outcome,
        weight=dice.choice((1.0, 1.0, 10.0)),
        input_tokens=prompt,
        cached_tokens=dice.randint(0, prompt) if ok and dice.random() < 0.8 else None,
        output_tokens=output,
        ttft_seconds=ttft,
        latency_seconds=latency,
    )


def scrapes() -> list[Scrape]:
    """Four scrapes a minute of each replica; the first replica restarts once."""
    dice, made = random.Random(21), []
    counters: dict[str, dict[str, float]] = {
        replica: {"preemptions": 0.0, "prefix_cache_hits": 1e6, "prefix_cache_queries": 2e6} for replica in REPLICAS
    }
    for step in range(MINUTES * 4):
        for replica in REPLICAS:
            if replica == "tiny-0" and step == RESET_AT * 4:
                counters[replica] = dict.fromkeys(counters[replica], 0.0)
            values: dict[str, float] = {
                "requests_running": dice.randint(0, 32),
                "requests_waiting": dice.randint(0, 10),
                "kv_cache_usage_ratio": dice.random(),
            }
            if step % 4 == 0:
                grown = counters[replica]
                grown["preemptions"] += dice.randint(0, 5)
                looked_up = dice.randint(1000, 5000)
                grown["prefix_cache_queries"] += looked_up
                grown["prefix_cache_hits"] += dice.randint(0, looked_up)
                values |= grown
            made.append(Scrape(timedelta(seconds=15 * step + 3), replica, values))
    return made


def insert(connection: psycopg.Connection[Any], base: datetime, made: Sequence[Call], scraped: Sequence[Scrape]) -> None:
    """Write the fleet into an empty database; ``base`` is the first minute."""
    dictionaries = ((environments, ENVIRONMENTS), (tenants, TENANTS), (models, MODELS), (replicas, REPLICAS))
    for table, ids in dictionaries:
        write(connection, table, [{"id": id, "name": name} for name, id in ids.items()])
    write(connection, rollup_minute, list(rolled(base, made)))
    write(
        connection,
        snapshots,
        [
            {
                "scraped_at": base + scrape.at,
                "scrape_seconds": 0.01,
                "tenant_id": 0,
                "cluster_id": 1,
                "environment_id": ENVIRONMENTS["production"],
                "model_id": MODELS[model_of(scrape.replica)],
                "replica_id": REPLICAS[scrape.replica],
                "engine": "0",
                **scrape.values,
            }
            for scrape in scraped
        ],
    )


def model_of(replica: str) -> str:
    """The model that a replica serves."""
    return next(model for model, served in SERVED_BY.items() if replica in served)


def rolled(base: datetime, made: Sequence[Call]) -> Iterator[dict[str, Any]]:
    """The rows of the rollup, summed here in Python."""
    groups: dict[tuple[int, ...], list[Call]] = defaultdict(list)
    for call in made:
        replica = NOBODY if call.replica is None else REPLICAS[call.replica]
        for by_tenant, by_model, by_replica in LEVELS:
            key = (call.minute, TENANTS[call.tenant] * by_tenant, MODELS[call.model] * by_model, replica * by_replica)
            rest = (ENVIRONMENTS[call.environment], call.observed_by, call.traffic_class, call.outcome)
            groups[(*key, *map(int, rest))].append(call)
    for (minute, tenant, model, replica, environment, observer, traffic_class, outcome), group in groups.items():
        cacheable = [call for call in group if call.cached_tokens is not None]
        yield {
            "minute": base + timedelta(minutes=minute),
            "requests": len(group),
            "weighted_requests": sum(call.weight for call in group),
            "input_tokens": sum(call.input_tokens for call in group),
            "cached_tokens": sum(call.cached_tokens or 0 for call in cacheable),
            "cacheable_tokens": sum(call.input_tokens for call in cacheable),
            "output_tokens": sum(call.output_tokens for call in group),
            "reasoning_tokens": 0,
            "rows_with_tokens": len(group),
            "rows_with_ttft": sum(call.ttft_seconds is not None for call in group),
            "tenant_id": tenant,
            "environment_id": environment,
            "model_id": model,
            "replica_id": replica,
            "observed_by": observer,
            "traffic_class": traffic_class,
            "operation": int(Operation.CHAT),
            "outcome": outcome,
            "billing_flags": 0,
            "sketch_version": VERSION if tenant == 0 else None,
            **({} if tenant else _sketches(group)),
        }


def _sketches(group: Sequence[Call]) -> dict[str, list[int]]:
    made: dict[str, list[int]] = {}
    for name in SKETCHES:
        known = [value for call in group if (value := getattr(call, name, None)) is not None]
        if known:
            counts = dict(sorted(sketch(known).items()))
            made |= {f"{name}_buckets": list(counts), f"{name}_counts": list(counts.values())}
    return made


def write(connection: psycopg.Connection[Any], table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, each of which may state other columns."""
    by_columns: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_columns[tuple(row)].append(row)
    with connection.cursor() as cursor:
        for columns, same in by_columns.items():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)) as copy:
                for row in same:
                    copy.write_row([_adapted(value) for value in row.values()])


def _adapted(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
