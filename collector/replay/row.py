"""A request as an object of JSON, for a person with a support case or a program that checks."""

from __future__ import annotations

from datetime import datetime

from collector.request import Operation, Request, TokenProvenance

Row = dict[str, str | int | float | bool | None]


def row_of(request: Request) -> Row:
    """The request; ``None`` is unknown. Durations are seconds, times RFC 3339 in UTC with microseconds, ids hex."""
    operation, provenance = request.operation, request.token_provenance
    return {
        "trace_id": request.trace_id.hex(),
        "span_id": request.span_id.hex(),
        "observed_by": request.observed_by.name.lower(),
        "dialect": request.dialect,
        "tenant": request.tenant,
        "model": model_of(request),
        "requested_model": request.requested_model,
        "provider": request.provider,
        "replica": request.replica,
        "request_id": request.request_id,
        "response_id": request.response_id,
        "api_key_hash": request.api_key_hash,
        "operation": None if operation is Operation.UNKNOWN else operation.name.lower(),
        "traffic_class": request.traffic_class.name.lower(),
        "stream": request.stream,
        "outcome": request.outcome.name.lower(),
        "http_status": request.http_status,
        "finish_reason": request.finish_reason,
        "input_tokens": request.input_tokens,
        "cached_tokens": request.cached_tokens,
        "output_tokens": request.output_tokens,
        "reasoning_tokens": request.reasoning_tokens,
        "token_provenance": None if provenance is TokenProvenance.UNKNOWN else provenance.name.lower(),
        "ttft_seconds": request.ttft_seconds,
        "latency_seconds": request.latency_seconds,
        "queue_seconds": request.queue_seconds,
        "started_at": _rfc3339(request.started_at),
        "ended_at": _rfc3339(request.ended_at),
        "fallback": request.fallback,
    }


def model_of(request: Request) -> str | None:
    """The name that reports group by, where there is one."""
    return request.requested_model or request.response_model


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
