"""One request as one row: values in the order of a table's columns, names as ids."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Table

from collector import schema
from collector.request import Request
from collector.schema import UNKNOWN
from collector.store.dictionary import Dictionary


def row_of(request: Request, table: Table, dictionary: Dictionary, received_at: datetime) -> tuple[object, ...]:
    """The row. Every name of the request must have an id already."""
    values = _values(request, dictionary, received_at)
    return tuple(values[column.name] for column in table.columns)


def _values(request: Request, dictionary: Dictionary, received_at: datetime) -> dict[str, object]:
    id = dictionary.id
    return {
        "ended_at": request.ended_at,
        "started_at": request.started_at,
        "received_at": received_at,
        "latency_seconds": request.latency_seconds,
        "ttft_seconds": request.ttft_seconds,
        "queue_seconds": request.queue_seconds,
        "prefill_seconds": request.prefill_seconds,
        "decode_seconds": request.decode_seconds,
        "sampling_weight": request.sampling_weight,
        "tenant_id": id(schema.tenants, request.tenant),
        "cluster_id": id(schema.clusters, request.cluster),
        "environment_id": id(schema.environments, request.environment),
        "model_id": id(schema.models, request.model),
        "response_model_id": _maybe(dictionary, schema.models, request.response_model),
        "replica_id": id(schema.replicas, request.replica),
        "revision_id": id(schema.revisions, request.revision),
        "producer_id": id(schema.producers, request.dialect, request.producer, request.producer_version),
        "input_tokens": request.input_tokens,
        "cached_tokens": request.cached_tokens,
        "output_tokens": request.output_tokens,
        "max_tokens": request.max_tokens,
        "preemptions": request.preemptions,
        "observed_by": request.observed_by,
        "outcome": request.outcome,
        "operation": request.operation,
        "traffic_class": request.traffic_class,
        "token_provenance": request.token_provenance,
        "choice_count": request.choice_count,
        "span_id": request.span_id,
        "trace_id": request.trace_id,
        "request_id": request.request_id,
        "finish_reason": request.finish_reason,
        "linked_at": None,
        "reported_cost_usd": request.reported_cost_usd,
        "requested_model_id": _maybe(dictionary, schema.models, request.requested_model),
        "provider_id": _maybe(dictionary, schema.providers, request.provider),
        "api_key_id": None
        if request.api_key_hash is None
        else id(schema.api_keys, request.api_key_hash, request.api_key_alias or ""),
        "reasoning_tokens": request.reasoning_tokens,
        "attempted_tokens": request.attempted_tokens,
        "billing_flags": int(request.billing_flags),
        "http_status": request.http_status,
        "error_pattern": request.error_pattern,
        "fallback_after": request.fallback_after,
        "retries": request.retries,
        "hash_key_id": request.hash_key_id,
        "stream": request.stream,
        "response_id": request.response_id,
        "error_class": request.error_class,
        "session_hash": request.session_hash,
        "end_user_hash": request.end_user_hash,
    }


def _maybe(dictionary: Dictionary, table: Table, name: str | None) -> int | None:
    """The id of a name in a column where NULL is unknown."""
    id = dictionary.id(table, name)
    return None if id == UNKNOWN else id
