"""Every table and column, with its comment and its unit.

The metadata here is Alembic's target: ``alembic check`` fails the build when a migration and this package disagree.

Rules that keep one code base for plain Postgres and for Citus:

- facts and rollups have ``tenant_id NOT NULL``; their unique keys lead with time and contain ``tenant_id``;
- partitions are daily, one level, made ahead and dropped by retention;
- ids of dictionaries are plain integers that the store allocates, since Citus takes no integer identity columns;
- no triggers, and no foreign keys from facts.
"""

from collector.schema.access import tenant_readers, tokens
from collector.schema.alert import alerts, flips, mutes, outbox
from collector.schema.base import ALL, UNKNOWN, metadata
from collector.schema.dictionary import (
    DICTIONARIES,
    api_keys,
    clusters,
    environments,
    layouts,
    models,
    objectives,
    producers,
    providers,
    replicas,
    revisions,
    streams,
    tenants,
)
from collector.schema.fleet import changes, collectors, events, replica_states, snapshots
from collector.schema.request import engine_requests, fragments, links, requests
from collector.schema.rollup import (
    SKETCHES,
    SLO_MINUTE_AGE,
    fold_marks,
    pulses,
    rollup_day,
    rollup_hour,
    rollup_marks,
    rollup_minute,
    slo_minute,
    snapshot_hour,
    tenant_sketches,
)

PARTITIONED = {requests.name: "ended_at", engine_requests.name: "ended_at", snapshots.name: "scraped_at"}
"""Tables in daily partitions, and the column they go by."""

__all__ = [
    "ALL",
    "DICTIONARIES",
    "PARTITIONED",
    "SKETCHES",
    "SLO_MINUTE_AGE",
    "UNKNOWN",
    "alerts",
    "api_keys",
    "changes",
    "clusters",
    "collectors",
    "engine_requests",
    "environments",
    "events",
    "flips",
    "fold_marks",
    "fragments",
    "layouts",
    "links",
    "metadata",
    "models",
    "mutes",
    "objectives",
    "outbox",
    "producers",
    "providers",
    "pulses",
    "replica_states",
    "replicas",
    "requests",
    "revisions",
    "rollup_day",
    "rollup_hour",
    "rollup_marks",
    "rollup_minute",
    "slo_minute",
    "snapshot_hour",
    "snapshots",
    "streams",
    "tenant_readers",
    "tenant_sketches",
    "tenants",
    "tokens",
]
