"""the first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import citus

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="End of the call: what keys, partitions, rollups and alerts go by",
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the call"),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="When the collector took it"),
        sa.Column("latency_seconds", sa.Double(), nullable=True, comment="Start to end [s]"),
        sa.Column("ttft_seconds", sa.Double(), nullable=True, comment="Start to first token [s]"),
        sa.Column("queue_seconds", sa.Double(), nullable=True, comment="Waiting before the first scheduling [s]"),
        sa.Column("prefill_seconds", sa.Double(), nullable=True, comment="Prefill [s]"),
        sa.Column("decode_seconds", sa.Double(), nullable=True, comment="Decode [s]"),
        sa.Column(
            "sampling_weight",
            sa.Double(),
            nullable=False,
            comment="Calls that this row stands for: 1 unless the producer samples",
        ),
        sa.Column("tenant_id", sa.Integer(), nullable=False, comment="Tenant"),
        sa.Column("cluster_id", sa.Integer(), nullable=False, comment="Cluster"),
        sa.Column("environment_id", sa.Integer(), nullable=False, comment="Environment"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Model that reports group by: requested, else answering"),
        sa.Column("response_model_id", sa.Integer(), nullable=True, comment="Model that answered"),
        sa.Column("replica_id", sa.Integer(), nullable=False, comment="Replica that served it"),
        sa.Column("revision_id", sa.Integer(), nullable=False, comment="Revision of that replica"),
        sa.Column("producer_id", sa.Integer(), nullable=False, comment="Producer: dialect, scope, version"),
        sa.Column("input_tokens", sa.Integer(), nullable=True, comment="Prompt tokens, cached ones included"),
        sa.Column("cached_tokens", sa.Integer(), nullable=True, comment="Prompt tokens from a cache"),
        sa.Column("output_tokens", sa.Integer(), nullable=True, comment="Generated tokens, reasoning included"),
        sa.Column("max_tokens", sa.Integer(), nullable=True, comment="Token limit asked for"),
        sa.Column("preemptions", sa.Integer(), nullable=True, comment="Preemptions of this request"),
        sa.Column("observed_by", sa.SmallInteger(), nullable=False, comment="1 gateway, 2 client, 3 engine"),
        sa.Column("outcome", sa.SmallInteger(), nullable=False, comment="collector.request.Outcome"),
        sa.Column("operation", sa.SmallInteger(), nullable=False, comment="collector.request.Operation"),
        sa.Column("traffic_class", sa.SmallInteger(), nullable=False, comment="1 interactive, 2 batch, 3 synthetic"),
        sa.Column(
            "token_provenance", sa.SmallInteger(), nullable=False, comment="0 unknown, 1 reported, 2 estimated, 3 engine"
        ),
        sa.Column("choice_count", sa.SmallInteger(), nullable=True, comment="Choices asked for (n)"),
        sa.Column("span_id", sa.LargeBinary(), nullable=False, comment="Span id, 8 bytes"),
        sa.Column("trace_id", sa.LargeBinary(), nullable=False, comment="Trace id, 16 bytes"),
        sa.Column("request_id", sa.Text(), nullable=True, comment="The observer's own id: gateway call id, engine request id"),
        sa.Column("finish_reason", sa.Text(), nullable=True, comment="Why generation ended"),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=True, comment="When engine facts were filled in"),
        sa.Column("reported_cost_usd", sa.Double(), nullable=True, comment="Cost that the gateway states [USD]"),
        sa.Column("requested_model_id", sa.Integer(), nullable=True, comment="Model that was asked for"),
        sa.Column("provider_id", sa.Integer(), nullable=True, comment="Provider that answered"),
        sa.Column("api_key_id", sa.Integer(), nullable=True, comment="API key, by hash"),
        sa.Column("reasoning_tokens", sa.Integer(), nullable=True, comment="Reasoning tokens, part of output_tokens"),
        sa.Column("attempted_tokens", sa.Integer(), nullable=True, comment="Prompt length that a refusal names [tokens]"),
        sa.Column(
            "billing_flags",
            sa.SmallInteger(),
            nullable=False,
            comment="Bits: 1 fallback, 2 gateway cache, 4 estimated, 8 many choices, 16 retried",
        ),
        sa.Column("http_status", sa.SmallInteger(), nullable=True, comment="HTTP status"),
        sa.Column(
            "error_pattern",
            sa.SmallInteger(),
            nullable=True,
            comment="Pattern that the error text matched; the text is not kept",
        ),
        sa.Column("fallback_after", sa.SmallInteger(), nullable=True, comment="Outcome of the attempt before a fallback"),
        sa.Column("retries", sa.SmallInteger(), nullable=True, comment="Attempts after the first"),
        sa.Column("hash_key_id", sa.SmallInteger(), nullable=True, comment="Key that the two hashes below were made with"),
        sa.Column("stream", sa.Boolean(), nullable=True, comment="Whether the answer was streamed"),
        sa.Column("response_id", sa.Text(), nullable=True, comment="Id in the response"),
        sa.Column("error_class", sa.Text(), nullable=True, comment="Class of the error"),
        sa.Column("session_hash", sa.LargeBinary(), nullable=True, comment="Keyed hash of the session id"),
        sa.Column("end_user_hash", sa.LargeBinary(), nullable=True, comment="Keyed hash of the end user's id"),
        sa.PrimaryKeyConstraint("ended_at", "span_id", "trace_id", "tenant_id", name=op.f("pk_requests")),
        comment="LLM calls as gateways and clients saw them; daily partitions, kept 100 days",
        postgresql_partition_by="RANGE (ended_at)",
    )
    citus.distribute("requests", "tenant_id")
    op.create_table(
        "alerts",
        sa.Column(
            "fingerprint", sa.Text(), nullable=False, comment="Hash of the labels without severity: the alert's identity"
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the SLO or symptom"),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="Labels, severity included"),
        sa.Column(
            "annotations",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The verdict and what a person needs beside it",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="inactive, pending, firing, resolving or resolved"),
        sa.Column(
            "detector",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="What the detector must remember over a restart",
        ),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True, comment="Start of the present or last firing"),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True, comment="End of the last firing"),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, comment="Last evaluation that changed something"),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_alerts")),
        comment="State per SLO or symptom and labels",
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows"),
        sa.Column("hash", sa.Text(), nullable=False, comment="Hash of the API key, as the gateway writes it; never the key"),
        sa.Column("alias", sa.Text(), nullable=False, comment="The gateway's alias of the key, empty where it has none"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", "alias", name=op.f("uq_api_keys_hash_alias")),
        comment="API keys, by hash",
    )
    citus.copy_everywhere("api_keys")
    op.create_table(
        "changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of arrival"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="When it took effect"),
        sa.Column("kind", sa.Text(), nullable=False, comment="deploy, restart, config or version"),
        sa.Column("source", sa.Text(), nullable=False, comment="Who says so: found, or the pipeline that posted it"),
        sa.Column("replica_id", sa.Integer(), nullable=False, comment="Replica, 0 for all"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Model, 0 for all"),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="What changed"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changes")),
        comment="Deploys, restarts, config and version changes that explain what happened",
    )
    op.create_index(op.f("ix_changes_at"), "changes", ["at"], unique=False)
    op.create_table(
        "clusters",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows; 0 is all, 1 is unknown"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as the producer writes it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clusters")),
        sa.UniqueConstraint("name", name=op.f("uq_clusters_name")),
        comment="Clusters",
    )
    citus.copy_everywhere("clusters")
    op.execute("INSERT INTO clusters (id, name) VALUES (0, '*'), (1, 'unknown')")
    op.create_table(
        "collectors",
        sa.Column("name", sa.Text(), nullable=False, comment="Host and process id"),
        sa.Column("version", sa.Text(), nullable=False, comment="Version of llm-slo"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the process"),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, comment="Last sign of life"),
        sa.Column("span_at", sa.DateTime(timezone=True), nullable=True, comment="Last span committed"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_collectors")),
        comment="Collectors and their last sign of life: how an alerter knows that data stopped",
    )
    op.create_table(
        "engine_requests",
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="End of the call: what keys, partitions, rollups and alerts go by",
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the call"),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="When the collector took it"),
        sa.Column("latency_seconds", sa.Double(), nullable=True, comment="Start to end [s]"),
        sa.Column("ttft_seconds", sa.Double(), nullable=True, comment="Start to first token [s]"),
        sa.Column("queue_seconds", sa.Double(), nullable=True, comment="Waiting before the first scheduling [s]"),
        sa.Column("prefill_seconds", sa.Double(), nullable=True, comment="Prefill [s]"),
        sa.Column("decode_seconds", sa.Double(), nullable=True, comment="Decode [s]"),
        sa.Column(
            "sampling_weight",
            sa.Double(),
            nullable=False,
            comment="Calls that this row stands for: 1 unless the producer samples",
        ),
        sa.Column("tenant_id", sa.Integer(), nullable=False, comment="Tenant"),
        sa.Column("cluster_id", sa.Integer(), nullable=False, comment="Cluster"),
        sa.Column("environment_id", sa.Integer(), nullable=False, comment="Environment"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Model that reports group by: requested, else answering"),
        sa.Column("response_model_id", sa.Integer(), nullable=True, comment="Model that answered"),
        sa.Column("replica_id", sa.Integer(), nullable=False, comment="Replica that served it"),
        sa.Column("revision_id", sa.Integer(), nullable=False, comment="Revision of that replica"),
        sa.Column("producer_id", sa.Integer(), nullable=False, comment="Producer: dialect, scope, version"),
        sa.Column("input_tokens", sa.Integer(), nullable=True, comment="Prompt tokens, cached ones included"),
        sa.Column("cached_tokens", sa.Integer(), nullable=True, comment="Prompt tokens from a cache"),
        sa.Column("output_tokens", sa.Integer(), nullable=True, comment="Generated tokens, reasoning included"),
        sa.Column("max_tokens", sa.Integer(), nullable=True, comment="Token limit asked for"),
        sa.Column("preemptions", sa.Integer(), nullable=True, comment="Preemptions of this request"),
        sa.Column("observed_by", sa.SmallInteger(), nullable=False, comment="1 gateway, 2 client, 3 engine"),
        sa.Column("outcome", sa.SmallInteger(), nullable=False, comment="collector.request.Outcome"),
        sa.Column("operation", sa.SmallInteger(), nullable=False, comment="collector.request.Operation"),
        sa.Column("traffic_class", sa.SmallInteger(), nullable=False, comment="1 interactive, 2 batch, 3 synthetic"),
        sa.Column(
            "token_provenance", sa.SmallInteger(), nullable=False, comment="0 unknown, 1 reported, 2 estimated, 3 engine"
        ),
        sa.Column("choice_count", sa.SmallInteger(), nullable=True, comment="Choices asked for (n)"),
        sa.Column("span_id", sa.LargeBinary(), nullable=False, comment="Span id, 8 bytes"),
        sa.Column("trace_id", sa.LargeBinary(), nullable=False, comment="Trace id, 16 bytes"),
        sa.Column("request_id", sa.Text(), nullable=True, comment="The observer's own id: gateway call id, engine request id"),
        sa.Column("finish_reason", sa.Text(), nullable=True, comment="Why generation ended"),
        sa.PrimaryKeyConstraint("ended_at", "span_id", "trace_id", "tenant_id", name=op.f("pk_engine_requests")),
        comment="LLM calls as engines saw them; daily partitions, kept 14 days",
        postgresql_partition_by="RANGE (ended_at)",
    )
    citus.distribute("engine_requests", "tenant_id", like="requests")
    op.create_table(
        "environments",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows; 0 is all, 1 is unknown"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as the producer writes it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("name", name=op.f("uq_environments_name")),
        comment="Environments: production, staging …",
    )
    citus.copy_everywhere("environments")
    op.execute("INSERT INTO environments (id, name) VALUES (0, '*'), (1, 'unknown')")
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of arrival"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="When it happened"),
        sa.Column("kind", sa.Text(), nullable=False, comment="collector.event.EventKind"),
        sa.Column("replica_id", sa.Integer(), nullable=False, comment="Replica"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Served model"),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="Short facts; never text of a prompt"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        comment="What happened to engines",
    )
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False)
    op.create_table(
        "flips",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order"),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="Alert"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="When"),
        sa.Column("from_state", sa.Text(), nullable=False, comment="State before"),
        sa.Column("to_state", sa.Text(), nullable=False, comment="State after"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why, in one sentence"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flips")),
        comment="Every change of an alert's state",
    )
    op.create_index(op.f("ix_flips_fingerprint_at"), "flips", ["fingerprint", "at"], unique=False)
    op.create_table(
        "fragments",
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="When the collector took it"),
        sa.Column("trace_id", sa.LargeBinary(), nullable=False, comment="Trace id, 16 bytes"),
        sa.Column("span_id", sa.LargeBinary(), nullable=False, comment="Span id, 8 bytes"),
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant of the token it came with, empty where none"),
        sa.Column("span", sa.LargeBinary(), nullable=False, comment="The allow-listed span, MessagePack"),
        sa.PrimaryKeyConstraint("trace_id", "span_id", name=op.f("pk_fragments")),
        comment="Allow-listed spans that wait for the rest of their request",
    )
    op.create_table(
        "layouts",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False, comment="Id in snapshots"),
        sa.Column(
            "edges", sa.Text(), nullable=False, comment="Upper bucket edges of every histogram column, as canonical JSON"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layouts")),
        sa.UniqueConstraint("edges", name=op.f("uq_layouts_edges")),
        comment="Histogram edges that a snapshot's arrays go by",
    )
    citus.copy_everywhere("layouts")
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows; 0 is all, 1 is unknown"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as the producer writes it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
        comment="Model names: requested, answering, and the one that reports group by",
    )
    citus.copy_everywhere("models")
    op.execute("INSERT INTO models (id, name) VALUES (0, '*'), (1, 'unknown')")
    op.create_table(
        "objectives",
        sa.Column(
            "id", sa.Text(), nullable=False, comment="Hash of SLI, selector and threshold: a changed objective is a new one"
        ),
        sa.Column(
            "definition",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="SLI, selector, threshold and group-by",
        ),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False, comment="When a collector first judged by it"),
        sa.Column(
            "warm_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it had been computed from rows for its whole period; NULL while warming",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objectives")),
        comment="What one request passes or fails",
    )
    citus.copy_everywhere("objectives")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order"),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="Alert"),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the firing it tells of"),
        sa.Column(
            "revision",
            sa.SmallInteger(),
            nullable=False,
            comment="0 first; one more each time it rose to a page, or fired again within 10 minutes",
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="firing or resolved"),
        sa.Column("sink", sa.Text(), nullable=False, comment="Name of the notifier"),
        sa.Column(
            "payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The alert as it was when it flipped"
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was written, in the transaction of the flip",
        ),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="Attempts so far"),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False, comment="Not before"),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True, comment="When the sink took it"),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True, comment="When it was given up as undeliverable"),
        sa.Column("last_error", sa.Text(), nullable=True, comment="What the last attempt met"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint(
            "fingerprint",
            "starts_at",
            "revision",
            "status",
            "sink",
            name=op.f("uq_outbox_fingerprint_starts_at_revision_status_sink"),
        ),
        comment="Notifications still to be delivered, and those that were",
    )
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["sink", "next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NULL AND failed_at IS NULL"),
    )
    op.create_table(
        "producers",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows"),
        sa.Column("dialect", sa.Text(), nullable=False, comment="Dialect that read the span"),
        sa.Column("scope", sa.Text(), nullable=False, comment="Instrumentation scope's name"),
        sa.Column("version", sa.Text(), nullable=False, comment="Instrumentation scope's version"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_producers")),
        sa.UniqueConstraint("dialect", "scope", "version", name=op.f("uq_producers_dialect_scope_version")),
        comment="Producers of spans, with their versions",
    )
    citus.copy_everywhere("producers")
    op.create_table(
        "providers",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows; 0 is all, 1 is unknown"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as the producer writes it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_providers")),
        sa.UniqueConstraint("name", name=op.f("uq_providers_name")),
        comment="Providers behind a gateway",
    )
    citus.copy_everywhere("providers")
    op.execute("INSERT INTO providers (id, name) VALUES (0, '*'), (1, 'unknown')")
    op.create_table(
        "pulses",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="What an alerter remembers having seen"
        ),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Start of the transaction that appended it",
        ),
        sa.Column("second", sa.DateTime(timezone=True), nullable=False, comment="Second in which the requests ended"),
        sa.Column("stream_id", sa.Integer(), nullable=False, comment="Series of verdicts"),
        sa.Column("good", sa.Integer(), nullable=False, comment="Requests that passed"),
        sa.Column("bad", sa.Integer(), nullable=False, comment="Requests that failed"),
        sa.Column(
            "folded", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment="Whether slo_minute holds it"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pulses")),
        comment="Verdicts by second, appended in the transaction of their rows; kept 2 hours",
    )
    op.create_index(op.f("ix_pulses_received_at"), "pulses", ["received_at"], unique=False)
    op.create_index("ix_pulses_unfolded", "pulses", ["id"], unique=False, postgresql_where=sa.text("NOT folded"))
    op.create_table(
        "replica_states",
        sa.Column("replica_id", sa.Integer(), autoincrement=False, nullable=False, comment="Replica"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Served model"),
        sa.Column("environment_id", sa.Integer(), nullable=False, comment="Environment"),
        sa.Column("cluster_id", sa.Integer(), nullable=False, comment="Cluster"),
        sa.Column("url", sa.Text(), nullable=False, comment="Target that was asked"),
        sa.Column("health", sa.SmallInteger(), nullable=False, comment="0 unknown, 1 ready, 2 failing, 3 unreachable"),
        sa.Column("health_status", sa.SmallInteger(), nullable=True, comment="HTTP status of the last health answer"),
        sa.Column("health_since", sa.DateTime(timezone=True), nullable=False, comment="Since when the health is what it is"),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False, comment="Last health check"),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True, comment="Last time that it was ready"),
        sa.Column("scraped_at", sa.DateTime(timezone=True), nullable=True, comment="Last scrape that succeeded"),
        sa.Column(
            "scrape_failed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Last scrape that failed, where it is the last one",
        ),
        sa.Column("process_started_at", sa.DateTime(timezone=True), nullable=True, comment="Start of the engine's process"),
        sa.Column(
            "gauges_frozen_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Since when all gauges stand still while requests are said to run",
        ),
        sa.Column("requests_running", sa.Double(), nullable=True, comment="Requests running, at the last scrape"),
        sa.Column("requests_waiting", sa.Double(), nullable=True, comment="Requests waiting, at the last scrape"),
        sa.Column("zombie", sa.Boolean(), nullable=False, comment="Health fails while /metrics answers with idle gauges"),
        sa.PrimaryKeyConstraint("replica_id", name=op.f("pk_replica_states")),
        comment="How each replica is now, for the alerter",
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows; 0 is all, 1 is unknown"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as the producer writes it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replicas")),
        sa.UniqueConstraint("name", name=op.f("uq_replicas_name")),
        comment="Replicas: stable workload identities",
    )
    citus.copy_everywhere("replicas")
    op.execute("INSERT INTO replicas (id, name) VALUES (0, '*'), (1, 'unknown')")
    op.create_table(
        "revisions",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows; 0 is all, 1 is unknown"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as the producer writes it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint("name", name=op.f("uq_revisions_name")),
        comment="Revisions of a deployment",
    )
    citus.copy_everywhere("revisions")
    op.execute("INSERT INTO revisions (id, name) VALUES (0, '*'), (1, 'unknown')")
    op.create_table(
        "rollup_marks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of arrival"),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False, comment="Minute whose rows changed"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollup_marks")),
        comment="Minutes to recompute from rows; appended in the transaction that changed them",
    )
    op.create_table(
        "rollup_minute",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False, comment="Minute in which the requests ended"),
        sa.Column("requests", sa.BigInteger(), nullable=False, comment="Requests"),
        sa.Column("weighted_requests", sa.Double(), nullable=False, comment="Requests, by sampling weight"),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False, comment="Prompt tokens, cached ones included, where known"),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False, comment="Cached prompt tokens, where known"),
        sa.Column(
            "cacheable_tokens",
            sa.BigInteger(),
            nullable=False,
            comment="Prompt tokens of the rows that state cached tokens: the hit rate's denominator",
        ),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False, comment="Generated tokens, where known"),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False, comment="Reasoning tokens, where known"),
        sa.Column("rows_with_tokens", sa.BigInteger(), nullable=False, comment="Rows that state input and output tokens"),
        sa.Column("rows_with_ttft", sa.BigInteger(), nullable=False, comment="Rows that state TTFT"),
        sa.Column("tenant_id", sa.Integer(), nullable=False, comment="Tenant, 0 for all"),
        sa.Column("environment_id", sa.Integer(), nullable=False, comment="Environment"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Model, 0 for all"),
        sa.Column("replica_id", sa.Integer(), nullable=False, comment="Replica, 0 for all"),
        sa.Column("observed_by", sa.SmallInteger(), nullable=False, comment="1 gateway, 2 client, 3 engine"),
        sa.Column("traffic_class", sa.SmallInteger(), nullable=False, comment="1 interactive, 2 batch, 3 synthetic"),
        sa.Column("operation", sa.SmallInteger(), nullable=False, comment="collector.request.Operation"),
        sa.Column("outcome", sa.SmallInteger(), nullable=False, comment="collector.request.Outcome"),
        sa.Column("billing_flags", sa.SmallInteger(), nullable=False, comment="collector.request.BillingFlag"),
        sa.Column(
            "sketch_version",
            sa.SmallInteger(),
            nullable=True,
            comment="collector.sketch.VERSION; NULL where the row keeps no sketch",
        ),
        sa.Column(
            "ttft_seconds_buckets",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="Time to first token: sketch bucket indexes, ascending",
        ),
        sa.Column(
            "ttft_seconds_counts",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="Time to first token: rows in each of these buckets",
        ),
        sa.Column(
            "tpot_seconds_buckets",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="Time per output token: sketch bucket indexes, ascending",
        ),
        sa.Column(
            "tpot_seconds_counts",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="Time per output token: rows in each of these buckets",
        ),
        sa.Column(
            "latency_seconds_buckets",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="Latency: sketch bucket indexes, ascending",
        ),
        sa.Column(
            "latency_seconds_counts",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="Latency: rows in each of these buckets",
        ),
        sa.Column(
            "queue_seconds_buckets",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="Queue time: sketch bucket indexes, ascending",
        ),
        sa.Column(
            "queue_seconds_counts",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="Queue time: rows in each of these buckets",
        ),
        sa.Column(
            "input_tokens_buckets",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="Prompt length: sketch bucket indexes, ascending",
        ),
        sa.Column(
            "input_tokens_counts",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="Prompt length: rows in each of these buckets",
        ),
        sa.Column(
            "context_tokens_buckets",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="Prompt and output length: sketch bucket indexes, ascending",
        ),
        sa.Column(
            "context_tokens_counts",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="Prompt and output length: rows in each of these buckets",
        ),
        sa.PrimaryKeyConstraint(
            "minute",
            "tenant_id",
            "observed_by",
            "environment_id",
            "traffic_class",
            "operation",
            "model_id",
            "replica_id",
            "outcome",
            "billing_flags",
            name=op.f("pk_rollup_minute"),
        ),
        comment="Requests by minute: counts for all, sketches for fleet, model and replica; kept 14 days",
    )
    citus.distribute("rollup_minute", "tenant_id", like="requests")
    op.create_table(
        "slo_minute",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False, comment="Minute in which the requests ended"),
        sa.Column("stream_id", sa.Integer(), nullable=False, comment="Series of verdicts"),
        sa.Column("good", sa.BigInteger(), nullable=False, comment="Requests that passed"),
        sa.Column("bad", sa.BigInteger(), nullable=False, comment="Requests that failed"),
        sa.PrimaryKeyConstraint("minute", "stream_id", name=op.f("pk_slo_minute")),
        comment="Verdicts by minute; kept as long as the SLO's period",
    )
    op.create_table(
        "snapshots",
        sa.Column("scraped_at", sa.DateTime(timezone=True), nullable=False, comment="When the scrape began"),
        sa.Column("process_started_at", sa.DateTime(timezone=True), nullable=True, comment="Start of the engine's process"),
        sa.Column("scrape_seconds", sa.Double(), nullable=False, comment="Duration of the scrape [s]"),
        sa.Column("tenant_id", sa.Integer(), nullable=False, comment="Owner of the engine; 0 for a shared one"),
        sa.Column("cluster_id", sa.Integer(), nullable=False, comment="Cluster"),
        sa.Column("environment_id", sa.Integer(), nullable=False, comment="Environment"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Served model"),
        sa.Column("replica_id", sa.Integer(), nullable=False, comment="Replica"),
        sa.Column(
            "layout_id",
            sa.SmallInteger(),
            nullable=True,
            comment="Edges of the histogram columns; NULL where the row holds gauges only",
        ),
        sa.Column("engine", sa.Text(), nullable=False, comment="The engine's index label, empty where it has none"),
        sa.Column("requests_running", sa.Double(), nullable=True, comment="Requests in the running batch [requests]"),
        sa.Column("requests_waiting", sa.Double(), nullable=True, comment="Requests waiting to be scheduled [requests]"),
        sa.Column(
            "requests_waiting_capacity",
            sa.Double(),
            nullable=True,
            comment="Waiting for room in the batch or the KV cache [requests]",
        ),
        sa.Column(
            "requests_waiting_deferred",
            sa.Double(),
            nullable=True,
            comment="Waiting for something passing: a LoRA slot, a KV transfer [requests]",
        ),
        sa.Column(
            "requests_swapped",
            sa.Double(),
            nullable=True,
            comment="Requests swapped out to host memory (engines before vLLM's V1) [requests]",
        ),
        sa.Column("kv_cache_usage_ratio", sa.Double(), nullable=True, comment="KV-cache blocks in use, 0 to 1 [ratio]"),
        sa.Column("engine_awake", sa.Double(), nullable=True, comment="1 when the engine is not sleeping [bool]"),
        sa.Column("process_resident_bytes", sa.Double(), nullable=True, comment="Resident memory of the API process [bytes]"),
        sa.Column(
            "prompt_tokens",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens; with n choices a prompt counts n times; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "generation_tokens", sa.Double(), nullable=True, comment="Tokens generated; the engine's raw counter [tokens]"
        ),
        sa.Column(
            "prompt_tokens_cached",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens taken from a cache, local or external; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_local_compute",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens computed here; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_local_cache_hit",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens from this engine's own cache; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_external_kv_transfer",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens received from another engine's KV cache; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_device",
            sa.Double(),
            nullable=True,
            comment="Cache hits served from device memory; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_host",
            sa.Double(),
            nullable=True,
            comment="Cache hits served from host memory; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_p2p",
            sa.Double(),
            nullable=True,
            comment="Cache hits served by another instance; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_disk",
            sa.Double(),
            nullable=True,
            comment="Cache hits served from disk; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_external",
            sa.Double(),
            nullable=True,
            comment="Cache hits from an external store that names no tier; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prompt_tokens_recomputed",
            sa.Double(),
            nullable=True,
            comment="Cached prompt tokens computed again (vLLM 0.17 to 0.19); the engine's raw counter [tokens]",
        ),
        sa.Column(
            "requests_finished_stop",
            sa.Double(),
            nullable=True,
            comment="Finished at a stop token; the engine's raw counter [requests]",
        ),
        sa.Column(
            "requests_finished_length",
            sa.Double(),
            nullable=True,
            comment="Finished at the token limit; the engine's raw counter [requests]",
        ),
        sa.Column(
            "requests_finished_abort",
            sa.Double(),
            nullable=True,
            comment="Aborted by the engine (a client's disconnect is not counted by vLLM); the engine's raw counter [requests]",
        ),
        sa.Column(
            "requests_finished_error",
            sa.Double(),
            nullable=True,
            comment="Finished with an error (stayed 0 in every crash measured); the engine's raw counter [requests]",
        ),
        sa.Column(
            "requests_finished_repetition",
            sa.Double(),
            nullable=True,
            comment="Stopped for repeating itself; the engine's raw counter [requests]",
        ),
        sa.Column(
            "corrupted_requests",
            sa.Double(),
            nullable=True,
            comment="Requests with NaN logits; the engine's raw counter [requests]",
        ),
        sa.Column(
            "preemptions",
            sa.Double(),
            nullable=True,
            comment="Requests thrown out of the batch for lack of KV cache; the engine's raw counter [preemptions]",
        ),
        sa.Column(
            "prefix_cache_queries",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens looked up in the prefix cache; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "prefix_cache_hits",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens found in the prefix cache; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "external_prefix_cache_queries",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens looked up in another instance's cache; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "external_prefix_cache_hits",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens found in another instance's cache; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "mm_cache_queries",
            sa.Double(),
            nullable=True,
            comment="Multi-modal items looked up; the engine's raw counter [items]",
        ),
        sa.Column(
            "mm_cache_hits", sa.Double(), nullable=True, comment="Multi-modal items found; the engine's raw counter [items]"
        ),
        sa.Column(
            "spec_decode_drafts", sa.Double(), nullable=True, comment="Speculative drafts; the engine's raw counter [drafts]"
        ),
        sa.Column(
            "spec_decode_draft_tokens", sa.Double(), nullable=True, comment="Tokens drafted; the engine's raw counter [tokens]"
        ),
        sa.Column(
            "spec_decode_accepted_tokens",
            sa.Double(),
            nullable=True,
            comment="Drafted tokens accepted; the engine's raw counter [tokens]",
        ),
        sa.Column(
            "estimated_flops",
            sa.Double(),
            nullable=True,
            comment="Floating point operations per GPU; the engine's raw counter [operations]",
        ),
        sa.Column(
            "estimated_read_bytes",
            sa.Double(),
            nullable=True,
            comment="Bytes read from memory per GPU; the engine's raw counter [bytes]",
        ),
        sa.Column(
            "estimated_write_bytes",
            sa.Double(),
            nullable=True,
            comment="Bytes written to memory per GPU; the engine's raw counter [bytes]",
        ),
        sa.Column(
            "process_cpu_seconds",
            sa.Double(),
            nullable=True,
            comment="CPU time of the API process; the engine's raw counter [seconds]",
        ),
        sa.Column(
            "http_requests_2xx", sa.Double(), nullable=True, comment="HTTP answers 2xx; the engine's raw counter [requests]"
        ),
        sa.Column(
            "http_requests_4xx", sa.Double(), nullable=True, comment="HTTP answers 4xx; the engine's raw counter [requests]"
        ),
        sa.Column(
            "http_requests_5xx", sa.Double(), nullable=True, comment="HTTP answers 5xx; the engine's raw counter [requests]"
        ),
        sa.Column(
            "admission_rejections",
            sa.Double(),
            nullable=True,
            comment="Requests refused at admission, all reasons; per API server, not per engine; the engine's raw counter [requests]",
        ),
        sa.Column(
            "ttft_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Time to first token; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "ttft_seconds_sum", sa.Double(), nullable=True, comment="Time to first token; sum of all observations [seconds]"
        ),
        sa.Column(
            "inter_token_latency_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Gap between two output tokens; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "inter_token_latency_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="Gap between two output tokens; sum of all observations [seconds]",
        ),
        sa.Column(
            "tpot_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Mean time per output token of a request; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "tpot_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="Mean time per output token of a request; sum of all observations [seconds]",
        ),
        sa.Column(
            "e2e_latency_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Arrival to last token; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "e2e_latency_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="Arrival to last token; sum of all observations [seconds]",
        ),
        sa.Column(
            "queue_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Waiting before the first scheduling; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "queue_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="Waiting before the first scheduling; sum of all observations [seconds]",
        ),
        sa.Column(
            "inference_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Prefill and decode; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "inference_seconds_sum", sa.Double(), nullable=True, comment="Prefill and decode; sum of all observations [seconds]"
        ),
        sa.Column(
            "prefill_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Prefill; cumulative counts by the layout's edges",
        ),
        sa.Column("prefill_seconds_sum", sa.Double(), nullable=True, comment="Prefill; sum of all observations [seconds]"),
        sa.Column(
            "decode_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Decode; a wait after a preemption is in here; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "decode_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="Decode; a wait after a preemption is in here; sum of all observations [seconds]",
        ),
        sa.Column(
            "kv_block_lifetime_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Life of a KV block; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "kv_block_lifetime_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="Life of a KV block; sum of all observations [seconds]",
        ),
        sa.Column(
            "kv_block_idle_before_evict_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="A KV block's idle time before eviction; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "kv_block_idle_before_evict_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="A KV block's idle time before eviction; sum of all observations [seconds]",
        ),
        sa.Column(
            "kv_block_reuse_gap_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Time between two uses of a KV block; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "kv_block_reuse_gap_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="Time between two uses of a KV block; sum of all observations [seconds]",
        ),
        sa.Column(
            "http_duration_seconds_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="HTTP request duration; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "http_duration_seconds_sum",
            sa.Double(),
            nullable=True,
            comment="HTTP request duration; sum of all observations [seconds]",
        ),
        sa.Column(
            "request_prompt_tokens_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Prompt length; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "request_prompt_tokens_sum", sa.Double(), nullable=True, comment="Prompt length; sum of all observations [tokens]"
        ),
        sa.Column(
            "request_generation_tokens_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Output length; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "request_generation_tokens_sum",
            sa.Double(),
            nullable=True,
            comment="Output length; sum of all observations [tokens]",
        ),
        sa.Column(
            "request_max_generation_tokens_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Longest output of a request's choices; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "request_max_generation_tokens_sum",
            sa.Double(),
            nullable=True,
            comment="Longest output of a request's choices; sum of all observations [tokens]",
        ),
        sa.Column(
            "request_max_tokens_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="max_tokens asked for; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "request_max_tokens_sum",
            sa.Double(),
            nullable=True,
            comment="max_tokens asked for; sum of all observations [tokens]",
        ),
        sa.Column(
            "request_prefill_kv_computed_tokens_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Prompt tokens really computed; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "request_prefill_kv_computed_tokens_sum",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens really computed; sum of all observations [tokens]",
        ),
        sa.Column(
            "iteration_tokens_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Tokens of one engine step; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "iteration_tokens_sum",
            sa.Double(),
            nullable=True,
            comment="Tokens of one engine step; sum of all observations [tokens]",
        ),
        sa.Column(
            "request_n_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="n asked for; cumulative counts by the layout's edges",
        ),
        sa.Column("request_n_sum", sa.Double(), nullable=True, comment="n asked for; sum of all observations [choices]"),
        sa.Column(
            "request_preemptions_buckets",
            postgresql.ARRAY(sa.BigInteger()),
            nullable=True,
            comment="Preemptions of a request; cumulative counts by the layout's edges",
        ),
        sa.Column(
            "request_preemptions_sum",
            sa.Double(),
            nullable=True,
            comment="Preemptions of a request; sum of all observations [preemptions]",
        ),
        sa.PrimaryKeyConstraint("scraped_at", "replica_id", "engine", "model_id", "tenant_id", name=op.f("pk_snapshots")),
        comment="One row per scrape per engine: gauges at each scrape, counters and histograms once a minute; daily partitions",
        postgresql_partition_by="RANGE (scraped_at)",
    )
    citus.distribute("snapshots", "tenant_id", like="requests")
    op.create_table(
        "streams",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in pulses and slo_minute"),
        sa.Column("objective_id", sa.Text(), nullable=False, comment="Objective"),
        sa.Column("labels", sa.Text(), nullable=False, comment="Group-by values as canonical JSON: sorted keys, no spaces"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_streams")),
        sa.UniqueConstraint("objective_id", "labels", name=op.f("uq_streams_objective_id_labels")),
        comment="Series of verdicts: objective by group-by values",
    )
    citus.copy_everywhere("streams")
    op.create_table(
        "tenants",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Id in the rows; 0 is all, 1 is unknown"),
        sa.Column("name", sa.Text(), nullable=False, comment="Name as the producer writes it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
        comment="Tenants: the principal at ingest; never changes for a row",
    )
    citus.copy_everywhere("tenants")
    op.execute("INSERT INTO tenants (id, name) VALUES (0, '*'), (1, 'unknown')")


def downgrade() -> None:
    op.drop_table("tenants")
    op.drop_table("streams")
    op.drop_table("snapshots")
    op.drop_table("slo_minute")
    op.drop_table("rollup_minute")
    op.drop_table("rollup_marks")
    op.drop_table("revisions")
    op.drop_table("requests")
    op.drop_table("replicas")
    op.drop_table("replica_states")
    op.drop_index("ix_pulses_unfolded", table_name="pulses", postgresql_where=sa.text("NOT folded"))
    op.drop_index(op.f("ix_pulses_received_at"), table_name="pulses")
    op.drop_table("pulses")
    op.drop_table("providers")
    op.drop_table("producers")
    op.drop_index("ix_outbox_due", table_name="outbox", postgresql_where=sa.text("delivered_at IS NULL AND failed_at IS NULL"))
    op.drop_table("outbox")
    op.drop_table("objectives")
    op.drop_table("models")
    op.drop_table("layouts")
    op.drop_table("fragments")
    op.drop_index(op.f("ix_flips_fingerprint_at"), table_name="flips")
    op.drop_table("flips")
    op.drop_index(op.f("ix_events_at"), table_name="events")
    op.drop_table("events")
    op.drop_table("environments")
    op.drop_table("engine_requests")
    op.drop_table("collectors")
    op.drop_table("clusters")
    op.drop_index(op.f("ix_changes_at"), table_name="changes")
    op.drop_table("changes")
    op.drop_table("api_keys")
    op.drop_table("alerts")
