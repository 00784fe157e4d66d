"""Reading how each replica compares with its peers."""

from __future__ import annotations

from datetime import datetime, timedelta

from psycopg.rows import class_row

from alerts.slow import MEDIAN_FACTOR, Rank
from alerts.store.leader import Connection
from collector.request import ObservedBy, TrafficClass
from collector.schema import UNKNOWN

REFERENCE = timedelta(minutes=5)
"""What is usual in a fleet is what its requests of so long say."""
SETTLED = timedelta(seconds=3)
"""Rows come a little after their requests end; those that come later than this are not ranked."""
_REFERENCE_ROWS = 20_000
"""And of no more of them than this, the newest: what one read may cost does not grow with the traffic."""
_MIN_REFERENCE_ROWS = 50


async def read_ranks(connection: Connection, observed_by: ObservedBy, since: datetime, until: datetime) -> list[Rank]:
    """The requests that ended after ``since`` and not after ``until``, by replica, against what is usual for their model."""
    cursor = connection.cursor(row_factory=class_row(Rank))
    await cursor.execute(
        # late requests of each replica
        """WITH recent AS MATERIALIZED (
               SELECT ended_at, environment_id, model_id, replica_id, ttft_seconds FROM requests
               WHERE ended_at > %(reference)s AND ended_at <= %(until)s AND ttft_seconds IS NOT NULL
                 AND observed_by = %(observed_by)s AND traffic_class <> %(synthetic)s AND replica_id <> %(unknown)s
               ORDER BY ended_at DESC LIMIT %(rows)s
           ), fleet AS (
               SELECT environment_id, model_id,
                      greatest(percentile_disc(0.9) WITHIN GROUP (ORDER BY ttft_seconds),
                               %(factor)s * percentile_disc(0.5) WITHIN GROUP (ORDER BY ttft_seconds)) AS late
               FROM recent GROUP BY 1, 2 HAVING count(*) >= %(enough)s
           )
           SELECT environments.name AS environment, models.name AS model, replicas.name AS replica,
                  (count(*) FILTER (WHERE ended_at > %(since)s AND ttft_seconds > fleet.late))::int AS late,
                  (count(*) FILTER (WHERE ended_at > %(since)s))::int AS total, fleet.late AS limit_seconds
           FROM recent JOIN fleet USING (environment_id, model_id)
           JOIN environments ON environments.id = environment_id
           JOIN models ON models.id = model_id JOIN replicas ON replicas.id = replica_id
           GROUP BY 1, 2, 3, fleet.late""",
        {
            "reference": until - REFERENCE,
            "since": since,
            "until": until,
            "observed_by": int(observed_by),
            "synthetic": int(TrafficClass.SYNTHETIC),
            "unknown": UNKNOWN,
            "factor": MEDIAN_FACTOR,
            "rows": _REFERENCE_ROWS,
            "enough": _MIN_REFERENCE_ROWS,
        },
    )
    return await cursor.fetchall()
