"""NVIDIA Dynamo's frontend. Health and metrics endpoints write the same span: one without a model is none of a call.

Its names are bare ones, so tokens are read only beside the two that nobody else writes together.
"""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, of, one_of
from collector.request import ObservedBy, Outcome
from collector.span import Span

_MILLISECOND = 1e-3


def _has_model(span: Span) -> bool:
    return "model" in span.attributes and "request_id" in span.attributes


DYNAMO = Dialect(
    name="dynamo",
    title="NVIDIA Dynamo frontend",
    marks=("ttft_ms",),
    recognises=_has_model,
    besides="`request_id` and `model`",
    observed_by=of(ObservedBy.GATEWAY),
    fields={
        "request_id": one_of("x_request_id", "request_id"),
        "requested_model": one_of("model"),
        "input_tokens": one_of("input_tokens"),
        "output_tokens": one_of("output_tokens"),
        "ttft_seconds": one_of("ttft_ms", scale=_MILLISECOND),
        "http_status": one_of("http.response.status_code", "http.status_code"),
        "server_address": one_of("decode_worker_id"),
        "path": one_of("uri"),
    },
    words={
        "request.outcome": {
            "cancelled": Outcome.CANCELLED,
            "canceled": Outcome.CANCELLED,
            "client_disconnected": Outcome.CANCELLED,
            "timeout": Outcome.TIMEOUT,
            "rejected": Outcome.OVERLOAD,
            "client_error": Outcome.VALIDATION,
            "validation": Outcome.VALIDATION,
            "error": Outcome.SERVER_ERROR,
            "server_error": Outcome.SERVER_ERROR,
            "internal": Outcome.SERVER_ERROR,
        }
    },
    unknown=("tenant", "cached tokens", "finish reason", "HTTP status", "a failure, before it wrote request.outcome"),
)

DYNAMO_UNANSWERED = replace(
    DYNAMO,
    name="dynamo_unanswered",
    title="NVIDIA Dynamo frontend, calls without a first token",
    marks=("request.outcome", "x_request_id"),
    recognises=lambda span: _has_model(span) and "uri" in span.attributes,
    besides="`request_id`, `model` and `uri`",
    fields={field: sources for field, sources in DYNAMO.fields.items() if "token" not in field and field != "ttft_seconds"},
)
