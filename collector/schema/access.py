"""Who may do what: roles, their rights on every table, and the two tables that tokens and tenants' readers are kept in.

The roles are groups: an administrator makes logins and puts them in. What is inherited from a group are rights and policies;
BYPASSRLS and settings such as ``statement_timeout`` are not, so a login needs them itself. Whoever owns the tables may do
everything, and is what ``llm-slo up`` connects as.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import CheckConstraint, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from collector.schema.alert import alerts, flips, mutes, outbox
from collector.schema.base import Time, column, identity, maybe, metadata
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

tokens = Table(
    "tokens",
    metadata,
    identity("Names the token to people; no secret"),
    # Tokens are 256 random bits, so a plain hash is right: there is nothing to guess that a slow one would protect.
    column("hash", LargeBinary, "SHA-256 of the token; the token itself is nowhere", unique=True),
    maybe("tenant", Text, "Tenant that it stands for; NULL for any"),
    column("rights", ARRAY(Text), "ingest, read, admin"),
    column("created_at", Time, "When it was made"),
    maybe("expires_at", Time, "From when on it is refused; NULL for never"),
    maybe("revoked_at", Time, "When it was revoked"),
    column("note", Text, "What it is for, in the words of whoever made it"),
    comment="Tokens of senders and readers, by hash",
)

tenant_readers = Table(
    "tenant_readers",
    metadata,
    column("role_name", Text, "Login that reads, a member of llm_slo_auditor"),
    column("tenant_id", Integer, "Tenant whose rows it sees"),
    PrimaryKeyConstraint("role_name", "tenant_id"),
    # 0 marks the sums over all tenants.
    CheckConstraint("tenant_id > 0", name="one_tenant"),
    comment="Which tenants the logins of tenants' own readers see: what row-level security goes by",
)


class Role(StrEnum):
    """Group roles. They belong to the whole server, so two databases of one server share them."""

    COLLECTOR = "llm_slo_collector"
    ALERTER = "llm_slo_alerter"
    GRAFANA = "llm_slo_grafana"
    AUDITOR = "llm_slo_auditor"


Rights = Mapping[str, frozenset[str]]
"""Table names to privileges. What is not in here may not be done; partitions are in no such mapping."""

_VERSION = "alembic_version"
_READ = frozenset({"SELECT"})
_APPEND = _READ | {"INSERT"}
_UPSERT = _APPEND | {"UPDATE"}
_QUEUE = _APPEND | {"DELETE"}
_NAMES = (*DICTIONARIES, producers, api_keys, layouts, streams)
_ROLLUPS = (rollup_minute, rollup_hour, rollup_day, snapshot_hour)


def _rights(*parts: tuple[frozenset[str], tuple[Table, ...]]) -> dict[str, frozenset[str]]:
    return {table.name: privileges for privileges, tables in parts for table in tables}


RIGHTS: Mapping[Role, Rights] = {
    Role.COLLECTOR: _rights(
        (_APPEND, (engine_requests, snapshots, events, changes, objectives)),
        # UPDATE on requests is for what engines tell: it fills columns that are NULL.
        (_UPSERT, (requests,)),
        (_QUEUE, (fragments, links, rollup_marks, *_ROLLUPS, tenant_sketches)),
        # UPDATE on names is for the lock that allocating an id takes; no name is ever changed.
        (_UPSERT, (*_NAMES, replica_states, collectors)),
        (_UPSERT | _QUEUE, (pulses, slo_minute, fold_marks)),
        (_READ, (tokens,)),
    )
    | {_VERSION: _READ},
    Role.ALERTER: _rights(
        (_UPSERT, (alerts, outbox, mutes)),
        (_APPEND, (flips,)),
        (_READ, (requests, engine_requests, snapshots, events, changes, replica_states, collectors)),
        (_READ, (pulses, slo_minute, rollup_marks, fold_marks, *_ROLLUPS, objectives, streams, *DICTIONARIES)),
    ),
    Role.GRAFANA: _rights(
        (_READ, (requests, engine_requests, snapshots, events, changes, replica_states, collectors)),
        (_READ, (pulses, slo_minute, rollup_marks, fold_marks, *_ROLLUPS, objectives, alerts, flips, outbox, mutes, *_NAMES)),
    ),
    Role.AUDITOR: _rights(
        (_READ, (requests, engine_requests, snapshots, *_ROLLUPS, tenants, tenant_readers)),
        # What the ids in a tenant's own rows mean. Not api_keys and streams, which name other tenants' keys and labels.
        (_READ, (clusters, environments, models, revisions, replicas, providers, producers, layouts)),
    ),
}

FUNCTIONS: Mapping[Role, tuple[str, ...]] = {
    # As the owner of the tables: nobody else can attach a partition, or drop one.
    Role.COLLECTOR: ("make_partition(text, date)", "drop_partition(text)"),
}
"""Functions that only these roles, and the owner, may call."""

BYPASSING = (Role.COLLECTOR, Role.ALERTER)
"""Roles with BYPASSRLS: COPY into a table with row-level security fails without it."""

ALL_TENANTS = (Role.COLLECTOR, Role.ALERTER, Role.GRAFANA)
"""Roles that a policy lets see every row, so that a login without BYPASSRLS never sees nothing, silently."""

SETTINGS: Mapping[Role, Mapping[str, str]] = {
    Role.GRAFANA: {"default_transaction_read_only": "on", "statement_timeout": "30s"},
    Role.AUDITOR: {"default_transaction_read_only": "on", "statement_timeout": "60s"},
}
"""What a role is made with. For a session that logs in as the role itself; not inherited."""

TENANT_COLUMN = {
    table.name: "tenant_id"
    for table in metadata.tables.values()
    if "tenant_id" in table.columns and table is not tenant_readers
} | {tenants.name: "id"}
"""Tables under row-level security, and the column that says whose row it is. Partitions are under it too, with no policy."""
