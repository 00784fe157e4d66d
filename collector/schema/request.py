"""Requests: one row per LLM call and observer. Columns go by width, which saves alignment padding in every row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Double, Integer, LargeBinary, PrimaryKeyConstraint, SmallInteger, Table, Text

from collector.schema.base import Time, column, maybe, metadata


def _columns() -> list[Column[Any]]:
    """Columns that gateway, client and engine rows share."""
    return [
        column("ended_at", Time, "End of the call: what keys, partitions, rollups and alerts go by"),
        column("started_at", Time, "Start of the call"),
        column("received_at", Time, "When the collector took it"),
        maybe("latency_seconds", Double, "Start to end [s]"),
        maybe("ttft_seconds", Double, "Start to first token [s]"),
        maybe("queue_seconds", Double, "Waiting before the first scheduling [s]"),
        maybe("prefill_seconds", Double, "Prefill [s]"),
        maybe("decode_seconds", Double, "Decode [s]"),
        column("sampling_weight", Double, "Calls that this row stands for: 1 unless the producer samples"),
        column("tenant_id", Integer, "Tenant"),
        column("cluster_id", Integer, "Cluster"),
        column("environment_id", Integer, "Environment"),
        column("model_id", Integer, "Model that reports group by: requested, else answering"),
        maybe("response_model_id", Integer, "Model that answered"),
        column("replica_id", Integer, "Replica that served it"),
        column("revision_id", Integer, "Revision of that replica"),
        column("producer_id", Integer, "Producer: dialect, scope, version"),
        maybe("input_tokens", Integer, "Prompt tokens, cached ones included"),
        maybe("cached_tokens", Integer, "Prompt tokens from a cache"),
        maybe("output_tokens", Integer, "Generated tokens, reasoning included"),
        maybe("max_tokens", Integer, "Token limit asked for"),
        maybe("preemptions", Integer, "Preemptions of this request"),
        column("observed_by", SmallInteger, "1 gateway, 2 client, 3 engine"),
        column("outcome", SmallInteger, "collector.request.Outcome"),
        column("operation", SmallInteger, "collector.request.Operation"),
        column("traffic_class", SmallInteger, "1 interactive, 2 batch, 3 synthetic"),
        column("token_provenance", SmallInteger, "0 unknown, 1 reported, 2 estimated, 3 engine"),
        maybe("choice_count", SmallInteger, "Choices asked for (n)"),
        column("span_id", LargeBinary, "Span id, 8 bytes"),
        column("trace_id", LargeBinary, "Trace id, 16 bytes"),
        maybe("request_id", Text, "The observer's own id: gateway call id, engine request id"),
        maybe("finish_reason", Text, "Why generation ended"),
    ]


requests = Table(
    "requests",
    metadata,
    *_columns(),
    maybe("linked_at", Time, "When engine facts were filled in"),
    maybe("reported_cost_usd", Double, "Cost that the gateway states [USD]"),
    maybe("requested_model_id", Integer, "Model that was asked for"),
    maybe("provider_id", Integer, "Provider that answered"),
    maybe("api_key_id", Integer, "API key, by hash"),
    maybe("reasoning_tokens", Integer, "Reasoning tokens, part of output_tokens"),
    maybe("attempted_tokens", Integer, "Prompt length that a refusal names [tokens]"),
    column("billing_flags", SmallInteger, "Bits: 1 fallback, 2 gateway cache, 4 estimated, 8 many choices, 16 retried"),
    maybe("http_status", SmallInteger, "HTTP status"),
    maybe("error_pattern", SmallInteger, "Pattern that the error text matched; the text is not kept"),
    maybe("fallback_after", SmallInteger, "Outcome of the attempt before a fallback"),
    maybe("retries", SmallInteger, "Attempts after the first"),
    maybe("hash_key_id", SmallInteger, "Key that the two hashes below were made with"),
    maybe("stream", Boolean, "Whether the answer was streamed"),
    maybe("response_id", Text, "Id in the response"),
    maybe("error_class", Text, "Class of the error"),
    maybe("session_hash", LargeBinary, "Keyed hash of the session id"),
    maybe("end_user_hash", LargeBinary, "Keyed hash of the end user's id"),
    PrimaryKeyConstraint("ended_at", "span_id", "trace_id", "tenant_id"),
    comment="LLM calls as gateways and clients saw them; daily partitions, kept 100 days",
    postgresql_partition_by="RANGE (ended_at)",
)

engine_requests = Table(
    "engine_requests",
    metadata,
    *_columns(),
    PrimaryKeyConstraint("ended_at", "span_id", "trace_id", "tenant_id"),
    comment="LLM calls as engines saw them; daily partitions, kept 14 days",
    postgresql_partition_by="RANGE (ended_at)",
)

fragments = Table(
    "fragments",
    metadata,
    column("received_at", Time, "The database's clock when it was taken; later, for one that waits longer", index=True),
    column("trace_id", LargeBinary, "Trace id, 16 bytes"),
    column("span_id", LargeBinary, "Span id, 8 bytes"),
    column("tenant", Text, "Tenant of the token it came with, empty where none"),
    column("span", LargeBinary, "The allow-listed span, MessagePack"),
    PrimaryKeyConstraint("trace_id", "span_id", "tenant"),
    comment="Allow-listed spans that wait for the rest of their request",
)

links = Table(
    "links",
    metadata,
    column("ended_at", Time, "Of the row's key"),
    column("started_at", Time, "Start of the call"),
    column("received_at", Time, "When the collector took it", index=True),
    column("tenant_id", Integer, "Of the row's key"),
    column("tells", Boolean, "Whether the row is an engine's, and tells; else it is one that asks"),
    column("key", LargeBinary, "What a call's rows have in common: the trace's id, or a hash of the request's"),
    column("span_id", LargeBinary, "Of the row's key"),
    column("trace_id", LargeBinary, "Of the row's key"),
    PrimaryKeyConstraint("key", "tells", "ended_at", "span_id", "trace_id", "tenant_id"),
    comment="Rows of the last minutes, by what they have in common with other rows of the same call",
)
