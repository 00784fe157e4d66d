"""The fleet: what scrapes said, what happened, and how each replica is now."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from collector.metrics import COUNTERS, GAUGES, HISTOGRAMS
from collector.schema.base import Time, column, identity, maybe, metadata

snapshots = Table(
    "snapshots",
    metadata,
    column("scraped_at", Time, "When the scrape began"),
    maybe("process_started_at", Time, "Start of the engine's process"),
    column("scrape_seconds", Double, "Duration of the scrape [s]"),
    column("tenant_id", Integer, "Owner of the engine; 0 for a shared one"),
    column("cluster_id", Integer, "Cluster"),
    column("environment_id", Integer, "Environment"),
    column("model_id", Integer, "Served model"),
    column("replica_id", Integer, "Replica"),
    maybe("layout_id", SmallInteger, "Edges of the histogram columns; NULL where the row holds gauges only"),
    column("engine", Text, "The engine's index label, empty where it has none"),
    maybe("role", Text, "prefill or decode, of an engine that says that it does one of them; NULL for one that does both"),
    *(maybe(family.name, Double, f"{family.help} [{family.unit}]") for family in GAUGES),
    *(maybe(family.name, Double, f"{family.help}; the engine's raw counter [{family.unit}]") for family in COUNTERS),
    *(
        part
        for family in HISTOGRAMS
        for part in (
            maybe(f"{family.name}_buckets", ARRAY(BigInteger), f"{family.help}; cumulative counts by the layout's edges"),
            maybe(f"{family.name}_sum", Double, f"{family.help}; sum of all observations [{family.unit}]"),
        )
    ),
    PrimaryKeyConstraint("scraped_at", "replica_id", "engine", "model_id", "tenant_id"),
    comment="One row per scrape per engine: gauges at each scrape, counters and histograms once a minute; daily partitions",
    postgresql_partition_by="RANGE (scraped_at)",
)

events = Table(
    "events",
    metadata,
    identity("Order of arrival"),
    column("at", Time, "When it happened"),
    column("kind", Text, "collector.event.EventKind"),
    column("replica_id", Integer, "Replica"),
    column("model_id", Integer, "Served model"),
    column("detail", JSONB, "Short facts; never text of a prompt"),
    comment="What happened to engines",
)
Index(None, events.c.at)

changes = Table(
    "changes",
    metadata,
    identity("Order of arrival"),
    column("at", Time, "When it took effect"),
    column("kind", Text, "deploy, restart, config or version"),
    column("source", Text, "Who says so: found, or the pipeline that posted it"),
    column("replica_id", Integer, "Replica, 0 for all"),
    column("model_id", Integer, "Model, 0 for all"),
    column("detail", JSONB, "What changed"),
    comment="Deploys, restarts, config and version changes that explain what happened",
)
Index(None, changes.c.at)

replica_states = Table(
    "replica_states",
    metadata,
    column("replica_id", Integer, "Replica", primary_key=True, autoincrement=False),
    column("model_id", Integer, "Served model"),
    column("environment_id", Integer, "Environment"),
    column("cluster_id", Integer, "Cluster"),
    column("url", Text, "Target that was asked"),
    column("health", SmallInteger, "0 unknown, 1 ready, 2 failing, 3 unreachable"),
    maybe("health_status", SmallInteger, "HTTP status of the last health answer"),
    column("health_since", Time, "Since when the health is what it is"),
    column("checked_at", Time, "Last health check"),
    maybe("ready_at", Time, "Last time that it was ready"),
    maybe("scraped_at", Time, "Last scrape that succeeded"),
    maybe("scrape_failed_at", Time, "Last scrape that failed, where it is the last one"),
    maybe("process_started_at", Time, "Start of the engine's process"),
    maybe("gauges_frozen_since", Time, "Since when all gauges stand still while requests are said to run"),
    maybe("requests_running", Double, "Requests running, at the last scrape"),
    maybe("requests_waiting", Double, "Requests waiting, at the last scrape"),
    column("zombie", Boolean, "Health fails while /metrics answers with idle gauges"),
    comment="How each replica is now, for the alerter",
)

collectors = Table(
    "collectors",
    metadata,
    column("name", Text, "Host and process id", primary_key=True),
    column("version", Text, "Version of llm-slo"),
    column("started_at", Time, "Start of the process"),
    column("seen_at", Time, "Last sign of life"),
    maybe("span_at", Time, "Last span committed"),
    comment="Collectors and their last sign of life: how an alerter knows that data stopped",
)
