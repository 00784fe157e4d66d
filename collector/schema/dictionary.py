"""Dictionaries: names that rows carry as integers.

A row with names is 408 bytes, with ids 234 (measured). Ids are allocated in a transaction before the batch that uses them.
"""

from __future__ import annotations

from sqlalchemy import Integer, SmallInteger, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB

from collector.schema.base import Time, column, maybe, metadata


def _dictionary(name: str, comment: str) -> Table:
    return Table(
        name,
        metadata,
        column("id", Integer, "Id in the rows; 0 is all, 1 is unknown", primary_key=True, autoincrement=False),
        column("name", Text, "Name as the producer writes it", unique=True),
        comment=comment,
    )


clusters = _dictionary("clusters", "Clusters")
environments = _dictionary("environments", "Environments: production, staging …")
tenants = _dictionary("tenants", "Tenants: the principal at ingest; never changes for a row")
models = _dictionary("models", "Model names: requested, answering, and the one that reports group by")
revisions = _dictionary("revisions", "Revisions of a deployment")
replicas = _dictionary("replicas", "Replicas: stable workload identities")
providers = _dictionary("providers", "Providers behind a gateway")

producers = Table(
    "producers",
    metadata,
    column("id", Integer, "Id in the rows", primary_key=True, autoincrement=False),
    column("dialect", Text, "Dialect that read the span"),
    column("scope", Text, "Instrumentation scope's name"),
    column("version", Text, "Instrumentation scope's version"),
    UniqueConstraint("dialect", "scope", "version"),
    comment="Producers of spans, with their versions",
)

api_keys = Table(
    "api_keys",
    metadata,
    column("id", Integer, "Id in the rows", primary_key=True, autoincrement=False),
    column("hash", Text, "Hash of the API key, as the gateway writes it; never the key"),
    column("alias", Text, "The gateway's alias of the key, empty where it has none"),
    UniqueConstraint("hash", "alias"),
    comment="API keys, by hash",
)

objectives = Table(
    "objectives",
    metadata,
    column("id", Text, "Hash of SLI, selector and threshold: a changed objective is a new one", primary_key=True),
    column("definition", JSONB, "SLI, selector, threshold and group-by"),
    column("first_seen_at", Time, "When a collector first judged by it"),
    maybe("warm_at", Time, "When it had been computed from rows for its whole period; NULL while warming"),
    comment="What one request passes or fails",
)

streams = Table(
    "streams",
    metadata,
    column("id", Integer, "Id in pulses and slo_minute", primary_key=True, autoincrement=False),
    column("objective_id", Text, "Objective"),
    column("labels", Text, "Group-by values as canonical JSON: sorted keys, no spaces"),
    UniqueConstraint("objective_id", "labels"),
    comment="Series of verdicts: objective by group-by values",
)

layouts = Table(
    "layouts",
    metadata,
    column("id", SmallInteger, "Id in snapshots", primary_key=True, autoincrement=False),
    column("edges", Text, "Upper bucket edges of every histogram column, as canonical JSON", unique=True),
    comment="Histogram edges that a snapshot's arrays go by",
)

DICTIONARIES = (clusters, environments, tenants, models, revisions, replicas, providers)
"""The dictionaries of a single name."""
