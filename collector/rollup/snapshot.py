"""Hours of snapshots: how loaded each replica was, and what its counters counted.

Counters are read once a minute and start anew with their process. What they counted is the sum of their differences; where a
process is newer than the scrape before, or a counter without such a date fell, it is the value itself. Where two processes
answer in turn for one replica, what lies between their counters is nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from collector.event import EventKind
from collector.metrics import COUNTERS, KV_CACHE_USAGE, REQUESTS_RUNNING, REQUESTS_WAITING
from collector.replica import START_JITTER
from collector.rollup.age import GRACE, HOUR, Kept
from collector.rollup.statement import Connection
from collector.schema.level import BUCKET
from collector.sketch import VERSION

LOOKBACK = timedelta(hours=6)
"""How long a replica may have been silent for its counters to be taken up again where they were."""
LONGEST_SECONDS = 60.0
"""A scrape says how things are until the next, but no longer than this: after that, nobody knows."""
_AFTER = timedelta(seconds=LONGEST_SECONDS)

_GROUP = "tenant_id, cluster_id, environment_id, model_id, replica_id"
_NAMES = [family.name for family in COUNTERS]
_COUNTERS = ", ".join(_NAMES)
# An exporter of GPUs writes rows for a replica too, which say nothing of its requests.
_OF_ENGINE = f"num_nonnulls({REQUESTS_RUNNING.name}, {REQUESTS_WAITING.name}, {KV_CACHE_USAGE.name}, {_COUNTERS}) > 0"
_FELL = " OR ".join(f"{name} < before_{name}" for name in _NAMES)


def _counted(name: str) -> str:
    return (
        f"CASE WHEN new_process THEN {name} WHEN other_process THEN NULL "
        f"WHEN {name} < before_{name} THEN {name} ELSE {name} - before_{name} END"
    )


_FOLD = f"""
WITH seen AS (
    SELECT {_GROUP}, engine, scraped_at, process_started_at, {REQUESTS_RUNNING.name} AS running,
        {REQUESTS_WAITING.name} AS waiting, {KV_CACHE_USAGE.name} AS kv, {_COUNTERS}
    FROM snapshots WHERE scraped_at >= %(lookback)s AND scraped_at < %(after)s AND {_OF_ENGINE}
), counters AS (
    SELECT {_GROUP}, scraped_at, process_started_at, {_COUNTERS},
        lag(scraped_at) OVER series AS before_at, lag(process_started_at) OVER series AS before_started_at,
        {", ".join(f"lag({name}) OVER series AS before_{name}" for name in _NAMES)}
    FROM seen WHERE num_nonnulls({_COUNTERS}) > 0
    WINDOW series AS (PARTITION BY {_GROUP}, engine ORDER BY scraped_at)
), processes AS (
    SELECT *, coalesce(process_started_at > coalesce(before_at, %(lookback)s), false) AS new_process,
        coalesce(abs(extract(epoch FROM process_started_at - before_started_at)) > %(jitter)s, false) AS other_process
    FROM counters WHERE scraped_at >= %(start)s AND scraped_at < %(end)s
), counted AS (
    SELECT {_GROUP}, {", ".join(f"sum({_counted(name)}) AS {name}" for name in _NAMES)} FROM processes GROUP BY {_GROUP}
), starts AS (
    SELECT {_GROUP}, scraped_at, process_started_at > lag(scraped_at) OVER series AS restarted
    FROM seen WINDOW series AS (PARTITION BY {_GROUP}, engine ORDER BY scraped_at)
    UNION ALL
    SELECT {_GROUP}, scraped_at, process_started_at IS NULL AND ({_FELL}) FROM processes
), restarts AS (
    SELECT {_GROUP}, count(DISTINCT scraped_at) AS restarts FROM starts
    WHERE restarted AND scraped_at >= %(start)s AND scraped_at < %(end)s GROUP BY {_GROUP}
), moments AS (
    SELECT {_GROUP}, scraped_at, sum(running) AS running, sum(waiting) AS waiting, max(kv) AS kv,
        least(extract(epoch FROM lead(scraped_at) OVER replica - scraped_at)::float8, {LONGEST_SECONDS}) AS seconds
    FROM seen WHERE scraped_at >= %(start)s GROUP BY {_GROUP}, scraped_at
    WINDOW replica AS (PARTITION BY {_GROUP} ORDER BY scraped_at)
), health AS (
    SELECT replica_id AS unhealthy_id, at, kind, lead(at) OVER (PARTITION BY replica_id ORDER BY at, id) AS until
    FROM events WHERE at < %(end)s AND kind IN ('{EventKind.ENGINE_DOWN}', '{EventKind.ENGINE_READY}')
), load AS (
    SELECT {_GROUP}, count(*) AS scrapes, sum(seconds) AS observed_seconds,
        coalesce(sum(seconds) FILTER (WHERE health.at IS NULL), 0) AS ready_seconds,
        CASE WHEN count(kv) > 0 THEN coalesce(sum(seconds) FILTER (WHERE kv > 0.9), 0) END AS kv_over_90_seconds,
        sum(running * seconds) AS requests_running_seconds, sum(waiting * seconds) AS requests_waiting_seconds,
        max(running) AS requests_running_max, max(waiting) AS requests_waiting_max
    FROM moments LEFT JOIN health
        ON unhealthy_id = replica_id AND kind = '{EventKind.ENGINE_DOWN}'
        AND scraped_at >= at AND (until IS NULL OR scraped_at < until)
    WHERE scraped_at < %(end)s
    GROUP BY {_GROUP}
), cells AS (
    SELECT {_GROUP}, {BUCKET} AS bucket, count(*)::int4 AS rows
    FROM (SELECT {_GROUP}, kv AS value FROM seen WHERE scraped_at >= %(start)s AND scraped_at < %(end)s) AS usage
    WHERE value IS NOT NULL GROUP BY {_GROUP}, bucket
), sketches AS (
    SELECT {_GROUP}, array_agg(bucket ORDER BY bucket) AS buckets, array_agg(rows ORDER BY bucket) AS counts
    FROM cells GROUP BY {_GROUP}
)
INSERT INTO snapshot_hour (
    hour, {_GROUP}, scrapes, restarts, observed_seconds, ready_seconds, kv_over_90_seconds,
    requests_running_seconds, requests_waiting_seconds, requests_running_max, requests_waiting_max,
    {_COUNTERS}, sketch_version, kv_cache_usage_ratio_buckets, kv_cache_usage_ratio_counts
)
SELECT %(start)s, {_GROUP}, scrapes, coalesce(restarts, 0), observed_seconds, ready_seconds, kv_over_90_seconds,
    requests_running_seconds, requests_waiting_seconds, requests_running_max, requests_waiting_max,
    {_COUNTERS}, {VERSION}, buckets, counts
FROM load LEFT JOIN restarts USING ({_GROUP}) LEFT JOIN counted USING ({_GROUP}) LEFT JOIN sketches USING ({_GROUP})
"""


async def fold_next(connection: Connection, kept: Kept) -> datetime | None:
    """Fold the oldest hour of snapshots that is over and not folded yet; ``None`` where there is none."""
    cursor = await connection.execute(
        # the first scrape after the last hour that is folded
        f"""
        SELECT date_trunc('hour', min(scraped_at), 'UTC') FROM snapshots
        WHERE scraped_at >= coalesce((SELECT max(hour) + interval '1 hour' FROM snapshot_hour), '-infinity') AND {_OF_ENGINE}
        """
    )
    row = await cursor.fetchone()
    # The last scrape of an hour lasts until the first of the next.
    if row is None or row[0] is None or row[0] + HOUR + _AFTER + GRACE > kept.now:
        return None
    hour: datetime = row[0]
    await fold_hour(connection, hour)
    return hour


async def fold_hour(connection: Connection, hour: datetime) -> None:
    """Replace one hour by what its snapshots say."""
    # the hour as it was
    await connection.execute("DELETE FROM snapshot_hour WHERE hour = %s", (hour,))
    # the hour as it is
    await connection.execute(
        _FOLD,
        {
            "start": hour,
            "end": hour + HOUR,
            "after": hour + HOUR + _AFTER,
            "lookback": hour - LOOKBACK,
            "jitter": START_JITTER.total_seconds(),
        },
    )
