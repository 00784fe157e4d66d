"""hours and days: rollups of requests, of snapshots, and what says which of them to make anew"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import citus

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_LEVELS = {
    "fleet": "tenant_id = 0 AND model_id = 0 AND replica_id = 0",
    "model": "tenant_id = 0 AND model_id <> 0 AND replica_id = 0",
    "replica": "tenant_id = 0 AND model_id <> 0 AND replica_id <> 0",
    "tenant": "tenant_id <> 0 AND model_id = 0 AND replica_id = 0",
    "tenant_model": "tenant_id <> 0 AND model_id <> 0 AND replica_id = 0",
}
_INCLUDED = [
    "observed_by",
    "environment_id",
    "traffic_class",
    "operation",
    "outcome",
    "billing_flags",
    "requests",
    "weighted_requests",
    "input_tokens",
    "cached_tokens",
    "cacheable_tokens",
    "output_tokens",
    "reasoning_tokens",
    "rows_with_tokens",
    "rows_with_ttft",
]


def upgrade() -> None:
    op.create_table(
        "fold_marks",
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False, comment="Start of the minute, hour or day"),
        sa.Column(
            "marked_at", sa.DateTime(timezone=True), nullable=False, comment="When it was marked first since it was folded last"
        ),
        sa.Column(
            "times",
            sa.Integer(),
            nullable=False,
            comment="How often it was marked since: who folds it sees whether it was marked again meanwhile",
        ),
        sa.Column("step", sa.SmallInteger(), nullable=False, comment="1 sketches of a minute's tenants, 2 an hour, 3 a day"),
        sa.PrimaryKeyConstraint("step", "starts_at", name=op.f("pk_fold_marks")),
        comment="What to make anew from what lies below it; only the roller writes here",
    )
    op.create_table(
        "rollup_day",
        sa.Column("day", sa.DateTime(timezone=True), nullable=False, comment="Day in which the requests ended"),
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
            "day",
            "tenant_id",
            "observed_by",
            "environment_id",
            "traffic_class",
            "operation",
            "model_id",
            "replica_id",
            "outcome",
            "billing_flags",
            name=op.f("pk_rollup_day"),
        ),
        comment="Requests by day (UTC), made of hours once the day is over; kept 5 years",
    )
    citus.distribute("rollup_day", "tenant_id", like="requests")
    op.create_table(
        "rollup_hour",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False, comment="Hour in which the requests ended"),
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
            "hour",
            "tenant_id",
            "observed_by",
            "environment_id",
            "traffic_class",
            "operation",
            "model_id",
            "replica_id",
            "outcome",
            "billing_flags",
            name=op.f("pk_rollup_hour"),
        ),
        comment="Requests by hour (UTC), made of minutes once the hour is over; kept 400 days",
    )
    citus.distribute("rollup_hour", "tenant_id", like="requests")
    op.create_table(
        "snapshot_hour",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False, comment="Hour of the scrapes (UTC)"),
        sa.Column(
            "observed_seconds",
            sa.Double(),
            nullable=False,
            comment="Time that scrapes stand for, each until the next and for a minute at most [s]",
        ),
        sa.Column("ready_seconds", sa.Double(), nullable=False, comment="Of these, the time in which health did not fail [s]"),
        sa.Column(
            "kv_over_90_seconds",
            sa.Double(),
            nullable=True,
            comment="Of these, the time with more than 90 % of the KV cache in use [s]",
        ),
        sa.Column(
            "requests_running_seconds",
            sa.Double(),
            nullable=True,
            comment="Requests running, times seconds; by observed_seconds it is their mean",
        ),
        sa.Column(
            "requests_waiting_seconds",
            sa.Double(),
            nullable=True,
            comment="Requests waiting, times seconds; by observed_seconds it is their mean",
        ),
        sa.Column("requests_running_max", sa.Double(), nullable=True, comment="Most requests running at a scrape"),
        sa.Column("requests_waiting_max", sa.Double(), nullable=True, comment="Most requests waiting at a scrape"),
        sa.Column(
            "prompt_tokens",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens; with n choices a prompt counts n times; counted in this hour [tokens]",
        ),
        sa.Column("generation_tokens", sa.Double(), nullable=True, comment="Tokens generated; counted in this hour [tokens]"),
        sa.Column(
            "prompt_tokens_cached",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens taken from a cache, local or external; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_local_compute",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens computed here; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_local_cache_hit",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens from this engine's own cache; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_external_kv_transfer",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens received from another engine's KV cache; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_device",
            sa.Double(),
            nullable=True,
            comment="Cache hits served from device memory; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_host",
            sa.Double(),
            nullable=True,
            comment="Cache hits served from host memory; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_p2p",
            sa.Double(),
            nullable=True,
            comment="Cache hits served by another instance; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_disk",
            sa.Double(),
            nullable=True,
            comment="Cache hits served from disk; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_cached_external",
            sa.Double(),
            nullable=True,
            comment="Cache hits from an external store that names no tier; counted in this hour [tokens]",
        ),
        sa.Column(
            "prompt_tokens_recomputed",
            sa.Double(),
            nullable=True,
            comment="Cached prompt tokens computed again (vLLM 0.17 to 0.19); counted in this hour [tokens]",
        ),
        sa.Column(
            "requests_finished_stop",
            sa.Double(),
            nullable=True,
            comment="Finished at a stop token; counted in this hour [requests]",
        ),
        sa.Column(
            "requests_finished_length",
            sa.Double(),
            nullable=True,
            comment="Finished at the token limit; counted in this hour [requests]",
        ),
        sa.Column(
            "requests_finished_abort",
            sa.Double(),
            nullable=True,
            comment="Aborted by the engine (a client's disconnect is not counted by vLLM); counted in this hour [requests]",
        ),
        sa.Column(
            "requests_finished_error",
            sa.Double(),
            nullable=True,
            comment="Finished with an error (stayed 0 in every crash measured); counted in this hour [requests]",
        ),
        sa.Column(
            "requests_finished_repetition",
            sa.Double(),
            nullable=True,
            comment="Stopped for repeating itself; counted in this hour [requests]",
        ),
        sa.Column(
            "requests_finished_unspecified",
            sa.Double(),
            nullable=True,
            comment="Finished in any way, by engines that do not count the ways apart; counted in this hour [requests]",
        ),
        sa.Column(
            "corrupted_requests",
            sa.Double(),
            nullable=True,
            comment="Requests with NaN logits; counted in this hour [requests]",
        ),
        sa.Column(
            "preemptions",
            sa.Double(),
            nullable=True,
            comment="Requests thrown out of the batch for lack of KV cache; counted in this hour [preemptions]",
        ),
        sa.Column(
            "prefix_cache_queries",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens looked up in the prefix cache; counted in this hour [tokens]",
        ),
        sa.Column(
            "prefix_cache_hits",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens found in the prefix cache; counted in this hour [tokens]",
        ),
        sa.Column(
            "external_prefix_cache_queries",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens looked up in another instance's cache; counted in this hour [tokens]",
        ),
        sa.Column(
            "external_prefix_cache_hits",
            sa.Double(),
            nullable=True,
            comment="Prompt tokens found in another instance's cache; counted in this hour [tokens]",
        ),
        sa.Column(
            "mm_cache_queries", sa.Double(), nullable=True, comment="Multi-modal items looked up; counted in this hour [items]"
        ),
        sa.Column("mm_cache_hits", sa.Double(), nullable=True, comment="Multi-modal items found; counted in this hour [items]"),
        sa.Column(
            "spec_decode_drafts", sa.Double(), nullable=True, comment="Speculative drafts; counted in this hour [drafts]"
        ),
        sa.Column(
            "spec_decode_draft_tokens", sa.Double(), nullable=True, comment="Tokens drafted; counted in this hour [tokens]"
        ),
        sa.Column(
            "spec_decode_accepted_tokens",
            sa.Double(),
            nullable=True,
            comment="Drafted tokens accepted; counted in this hour [tokens]",
        ),
        sa.Column(
            "estimated_flops",
            sa.Double(),
            nullable=True,
            comment="Floating point operations per GPU; counted in this hour [operations]",
        ),
        sa.Column(
            "estimated_read_bytes",
            sa.Double(),
            nullable=True,
            comment="Bytes read from memory per GPU; counted in this hour [bytes]",
        ),
        sa.Column(
            "estimated_write_bytes",
            sa.Double(),
            nullable=True,
            comment="Bytes written to memory per GPU; counted in this hour [bytes]",
        ),
        sa.Column(
            "process_cpu_seconds",
            sa.Double(),
            nullable=True,
            comment="CPU time of the API process; counted in this hour [seconds]",
        ),
        sa.Column("http_requests_2xx", sa.Double(), nullable=True, comment="HTTP answers 2xx; counted in this hour [requests]"),
        sa.Column("http_requests_4xx", sa.Double(), nullable=True, comment="HTTP answers 4xx; counted in this hour [requests]"),
        sa.Column("http_requests_5xx", sa.Double(), nullable=True, comment="HTTP answers 5xx; counted in this hour [requests]"),
        sa.Column(
            "admission_rejections",
            sa.Double(),
            nullable=True,
            comment="Requests refused at admission, all reasons; per API server, not per engine; counted in this hour [requests]",
        ),
        sa.Column("scrapes", sa.Integer(), nullable=False, comment="Scrapes"),
        sa.Column(
            "restarts", sa.Integer(), nullable=False, comment="Scrapes that met a new process, or counters that started anew"
        ),
        sa.Column("tenant_id", sa.Integer(), nullable=False, comment="Owner of the engine; 0 for a shared one"),
        sa.Column("cluster_id", sa.Integer(), nullable=False, comment="Cluster"),
        sa.Column("environment_id", sa.Integer(), nullable=False, comment="Environment"),
        sa.Column("model_id", sa.Integer(), nullable=False, comment="Served model"),
        sa.Column("replica_id", sa.Integer(), nullable=False, comment="Replica"),
        sa.Column("sketch_version", sa.SmallInteger(), nullable=False, comment="collector.sketch.VERSION"),
        sa.Column(
            "kv_cache_usage_ratio_buckets",
            postgresql.ARRAY(sa.SmallInteger()),
            nullable=True,
            comment="KV cache in use: sketch bucket indexes, ascending",
        ),
        sa.Column(
            "kv_cache_usage_ratio_counts",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="KV cache in use: scrapes in each of these buckets",
        ),
        sa.PrimaryKeyConstraint(
            "hour", "replica_id", "model_id", "tenant_id", "environment_id", "cluster_id", name=op.f("pk_snapshot_hour")
        ),
        comment="What scrapes said by hour, per replica and model; kept as long as rollup_hour",
    )
    citus.distribute("snapshot_hour", "tenant_id", like="requests")
    op.create_table(
        "tenant_sketches",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False, comment="Minute in which the requests ended"),
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
            name=op.f("pk_tenant_sketches"),
        ),
        comment="What minutes do not keep and hours do: the sketches of tenants; kept until no late row of their hour is likely",
    )
    citus.distribute("tenant_sketches", "tenant_id", like="requests")
    for table, time in (("rollup_hour", "hour"), ("rollup_day", "day")):
        for level, where in _LEVELS.items():
            op.create_index(
                f"ix_{table}_{level}",
                table,
                ["tenant_id", "model_id", "replica_id", time],
                postgresql_include=_INCLUDED,
                postgresql_where=sa.text(where),
            )
    # What there is already is rolled up anew, the newest first, an hour of minutes at a time.
    op.execute(
        "INSERT INTO rollup_marks (minute)"
        " SELECT date_trunc('minute', ended_at, 'UTC') FROM requests"
        " UNION SELECT date_trunc('minute', ended_at, 'UTC') FROM engine_requests"
    )


def downgrade() -> None:
    op.drop_table("tenant_sketches")
    op.drop_table("snapshot_hour")
    op.drop_table("rollup_hour")
    op.drop_table("rollup_day")
    op.drop_table("fold_marks")
