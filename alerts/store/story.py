"""What a page tells beside its verdict. Bounded, and given up where it takes too long: the page goes without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from psycopg import sql
from psycopg.errors import LockNotAvailable, QueryCanceled
from psycopg.rows import class_row

from alerts.store.fleet import read_changes
from alerts.store.leader import Connection
from alerts.story import Comparison, Hurt, Pressure, Share, Story, Volume
from collector.event import Change
from collector.objective import OUR_FAULT, Objective, Sli
from collector.request import ObservedBy, Outcome
from collector.schema import ALL, UNKNOWN

SLOW_MILLISECONDS = 250
"""What the reading of a story may take, each statement of it [ms]: people wait for the page, and the other alerts wait too."""
ROWS = 20_000
"""Requests that are looked at, the last ones: 0.1 s."""
SHORTEST, LONGEST = timedelta(minutes=5), timedelta(hours=1)
"""Least and greatest length of the time that is told of: from the start of the trouble where that lies between."""
_TRACES = 3
_CHANGES = timedelta(hours=1)
_BEFORE = timedelta(hours=1)
_MEASURED = {
    Sli.TTFT: "ttft_seconds",
    Sli.LATENCY: "latency_seconds",
    Sli.TPOT: "(latency_seconds - ttft_seconds) / nullif(output_tokens - 1, 0)",
}
_BANDS = "width_bucket(input_tokens, ARRAY[512, 2048, 8192, 32768])"
_BAND_NAMES = ("below 512 tokens", "of 512 to 2,047 tokens", "of 2,048 to 8,191 tokens", "of 8,192 to 32,767 tokens",
               "of 32,768 tokens or more")  # fmt: skip

log = structlog.get_logger()


class Subject(NamedTuple):
    """Whom a page is about: names by dimension (model, tenant, replica, environment); what is left out is any."""

    objective: Objective
    labels: Mapping[str, str]
    since: datetime


async def read_story(connection: Connection, subject: Subject, now: datetime) -> Story | None:
    """What there is to tell; ``None`` where it cannot be read in time. The caller's transaction goes on either way."""
    since = max(min(subject.since, now - SHORTEST), now - LONGEST)
    try:
        async with connection.transaction():
            # nobody waits long for what is only told beside
            await connection.execute(f"SET LOCAL statement_timeout = {SLOW_MILLISECONDS}")
            story = await _read_requests(connection, subject, Story(since, now))
            story = story._replace(
                changes=await _read_changes(connection, subject, since, now),
                pressures=await _read_pressures(connection, subject.labels.get("model"), since, now),
                comparison=await _read_comparison(connection, subject, story, now),
            )
    except (QueryCanceled, LockNotAvailable):
        log.warning("a page goes without its story, which could not be read in time", **_names(subject))
        return None
    return story


def _names(subject: Subject) -> dict[str, str]:
    return {name: value for name, value in subject.labels.items() if name in ("model", "replica", "slo")}


_SUBJECT = {"model": "models", "tenant": "tenants", "replica": "replicas", "environment": "environments"}


class _Row(NamedTuple):
    what: int
    tenant: str | None
    tenant_id: int | None
    model: str | None
    replica: str | None
    band: int | None
    outcome: int | None
    requests: int
    failed: int
    tenants_hurt: int


async def _read_requests(connection: Connection, subject: Subject, story: Story) -> Story:
    objective = subject.objective
    values = _values(subject, story)
    cursor = connection.cursor(row_factory=class_row(_Row))
    await cursor.execute(
        # the last requests that the objective judges: in all, and by each dimension
        sql.SQL(
            """WITH judged AS MATERIALIZED ({judged}), sums AS (
                   SELECT GROUPING(tenant_id, model_id, replica_id, band, outcome) AS what, tenant_id, model_id, replica_id,
                          band, outcome, count(*)::int AS requests, (count(*) FILTER (WHERE failed))::int AS failed,
                          (count(DISTINCT tenant_id) FILTER (WHERE failed))::int AS tenants_hurt
                   FROM judged GROUP BY GROUPING SETS ((), (tenant_id), (model_id), (replica_id), (band), (outcome))
               )
               SELECT what, tenants.name AS tenant, tenant_id, models.name AS model,
                      CASE WHEN replica_id <> %(unknown)s THEN replicas.name END AS replica, band, outcome,
                      requests, failed, tenants_hurt
               FROM sums LEFT JOIN tenants ON tenants.id = tenant_id LEFT JOIN models ON models.id = model_id
               LEFT JOIN replicas ON replicas.id = replica_id
               WHERE failed > 0 OR what = %(all)s ORDER BY failed DESC, requests DESC LIMIT 1000"""
        ).format(judged=_judged(objective, subject.labels)),
        values,
    )
    rows = await cursor.fetchall()
    whole = next(row for row in rows if row.what == values["all"])
    return story._replace(
        requests=whole.requests,
        failed=whole.failed,
        capped=whole.requests >= ROWS,
        outcomes={Outcome(row.outcome): row.failed for row in rows if row.what == 0b11110 and row.outcome is not None},
        tenants=[
            Hurt(row.tenant, row.tenant_id, row.failed)
            for row in rows
            if row.what == 0b01111 and row.tenant is not None and row.tenant_id is not None
        ],
        tenants_hurt=whole.tenants_hurt,
        shares=[share for row in rows for share in _shares(row)],
        traces=await _read_traces(connection, subject, values) if whole.failed else (),
    )


def _shares(row: _Row) -> list[Share]:
    """What a row says of one value of one dimension; nothing where the value is not known."""
    band = None if row.band is None else _BAND_NAMES[row.band]
    named = {
        0b01111: ("tenant", row.tenant),
        0b10111: ("model", row.model),
        0b11011: ("replica", row.replica),
        0b11101: ("prompts", band),
    }
    dimension, value = named.get(row.what, ("", None))
    return [] if value is None else [Share(dimension, value, row.requests, row.failed)]


def _values(subject: Subject, story: Story) -> dict[str, object]:
    return {
        "since": story.since,
        "now": story.until,
        "observer": int(subject.objective.observed_by),
        "classes": sorted(map(int, subject.objective.traffic_classes)),
        "faults": sorted(map(int, OUR_FAULT)),
        "ok": int(Outcome.OK),
        "timeout": int(Outcome.TIMEOUT),
        "threshold": subject.objective.threshold_seconds,
        "unknown": UNKNOWN,
        "all": 0b11111,
        "limit": ROWS,
        "traces": _TRACES,
        **{f"names_{name}": names for name, names in _chosen(subject).items()},
    }


def _chosen(subject: Subject) -> dict[str, list[str]]:
    """By dimension: the names that a request has to have one of. What an alert is labelled with is narrower than its SLO."""
    objective = subject.objective
    selected = {
        "model": objective.models,
        "tenant": objective.tenants,
        "replica": objective.replicas,
        "environment": objective.environments,
    }
    grouped = {name: (value,) for name, value in subject.labels.items() if name in _SUBJECT}
    return {name: list(grouped.get(name, names)) for name, names in selected.items() if grouped.get(name, names)}


def _judged(objective: Objective, labels: Mapping[str, str]) -> sql.Composed:
    """The requests that an objective judges, each with whether it failed: as ``collector.objective.judge`` does."""
    measured = _MEASURED.get(objective.sli)
    if measured is None:
        judged, failed = "(outcome = %(ok)s OR outcome = ANY(%(faults)s))", "outcome <> %(ok)s"
    else:
        late = (
            "false"
            if objective.sli is Sli.TPOT
            else f"outcome = %(timeout)s AND {measured} IS NULL AND latency_seconds > %(threshold)s"
        )
        judged = f"((outcome = %(ok)s AND {measured} IS NOT NULL) OR ({late}))"
        failed = f"(outcome <> %(ok)s OR {measured} > %(threshold)s)"
    table = "engine_requests" if objective.observed_by is ObservedBy.ENGINE else "requests"
    chosen = [
        sql.SQL("AND {id} = ANY(ARRAY(SELECT id FROM {names} WHERE name = ANY({value})))").format(
            id=sql.Identifier(f"{name}_id"), names=sql.Identifier(_SUBJECT[name]), value=sql.Placeholder(f"names_{name}")
        )
        for name in _chosen(Subject(objective, labels, datetime.min))
    ]
    return sql.SQL(
        """SELECT ended_at, trace_id, tenant_id, model_id, replica_id, outcome, {band} AS band, {failed} AS failed
           FROM {table} WHERE ended_at > %(since)s AND ended_at <= %(now)s AND observed_by = %(observer)s
             AND traffic_class = ANY(%(classes)s) AND {judged} {chosen}
           ORDER BY ended_at DESC LIMIT %(limit)s"""
    ).format(
        band=sql.SQL(_BANDS),
        failed=sql.SQL(failed),
        judged=sql.SQL(judged),
        table=sql.Identifier(table),
        chosen=sql.SQL(" ").join(chosen),
    )


async def _read_traces(connection: Connection, subject: Subject, values: Mapping[str, object]) -> list[str]:
    cursor = await connection.execute(
        # the last failed requests: one of each tenant first, so that the examples are not three of the same
        sql.SQL(
            """SELECT encode(trace_id, 'hex') FROM (
                   SELECT trace_id, ended_at, row_number() OVER (PARTITION BY tenant_id ORDER BY ended_at DESC) AS place
                   FROM ({judged}) AS judged WHERE failed
               ) AS failures ORDER BY place, ended_at DESC LIMIT %(traces)s"""
        ).format(judged=_judged(subject.objective, subject.labels)),
        values,
    )
    return list(dict.fromkeys(str(trace) for (trace,) in await cursor.fetchall()))


async def _read_changes(connection: Connection, subject: Subject, since: datetime, now: datetime) -> list[Change]:
    model, replica = subject.labels.get("model"), subject.labels.get("replica")
    return [
        change
        for change in await read_changes(connection, now)
        if since - _CHANGES <= change.at <= now
        and (model is None or change.model in (None, model))
        and (replica is None or change.replica in (None, replica))
    ]


async def _read_pressures(connection: Connection, model: str | None, since: datetime, now: datetime) -> Sequence[Pressure]:
    cursor = connection.cursor(row_factory=class_row(Pressure))
    await cursor.execute(
        # how short of KV cache the replicas of a model were; a counter that was reset started again at 0
        """SELECT replicas.name AS replica, max(kv) AS kv_cache_usage_ratio, max(waiting) AS requests_waiting,
                  coalesce(sum(CASE WHEN last >= first THEN last - first ELSE last END), 0)::float8 AS preemptions
           FROM (
               SELECT replica_id, max(kv_cache_usage_ratio) AS kv, max(requests_waiting) AS waiting,
                      (array_agg(preemptions ORDER BY scraped_at) FILTER (WHERE preemptions IS NOT NULL))[1] AS first,
                      (array_agg(preemptions ORDER BY scraped_at DESC) FILTER (WHERE preemptions IS NOT NULL))[1] AS last
               FROM snapshots WHERE scraped_at > %(since)s AND scraped_at <= %(now)s
                 AND (%(model)s::text IS NULL OR model_id = (SELECT id FROM models WHERE name = %(model)s))
               GROUP BY replica_id, engine, model_id
           ) AS engines JOIN replicas ON replicas.id = replica_id GROUP BY 1""",
        {"since": since - timedelta(minutes=1), "now": now, "model": model},
    )
    return await cursor.fetchall()


class _VolumeRow(NamedTuple):
    recent: bool
    of_tenant: bool
    minutes: int
    requests: int
    cached_tokens: int
    cacheable_tokens: int


async def _read_comparison(connection: Connection, subject: Subject, story: Story, now: datetime) -> Comparison | None:
    senders = [share for share in story.shares if share.dimension == "tenant"]
    tenant = max(senders, key=lambda share: share.requests).value if senders else None
    cursor = connection.cursor(row_factory=class_row(_VolumeRow))
    await cursor.execute(
        # whole minutes of the trouble, and of the hour before: of all tenants, and of one
        """SELECT minute >= %(since)s AS recent, tenant_id <> %(all)s AS of_tenant, count(DISTINCT minute)::int AS minutes,
                  sum(requests)::bigint AS requests, sum(cached_tokens)::bigint AS cached_tokens,
                  sum(cacheable_tokens)::bigint AS cacheable_tokens
           FROM rollup_minute
           WHERE minute >= %(before)s AND minute < %(until)s AND replica_id = %(all)s AND observed_by = %(observer)s
             AND traffic_class = ANY(%(classes)s)
             AND tenant_id IN (%(all)s, (SELECT id FROM tenants WHERE name = %(tenant)s))
             AND model_id = coalesce((SELECT id FROM models WHERE name = %(model)s), %(all)s)
           GROUP BY 1, 2""",
        {
            "since": story.since.replace(second=0, microsecond=0),
            "before": story.since.replace(second=0, microsecond=0) - _BEFORE,
            # The minute that runs is not whole.
            "until": now.replace(second=0, microsecond=0),
            "all": ALL,
            "observer": int(subject.objective.observed_by),
            "classes": sorted(map(int, subject.objective.traffic_classes)),
            "tenant": tenant,
            "model": subject.labels.get("model"),
        },
    )
    rows = {(row.recent, row.of_tenant): Volume(*row[2:]) for row in await cursor.fetchall()}
    none = Volume(0, 0, 0, 0)
    if (True, False) not in rows or (False, False) not in rows:
        return None
    return Comparison(
        tenant, rows[True, False], rows[False, False], rows.get((True, True), none), rows.get((False, True), none)
    )
