"""Hand-written gateways that set ``llm.*`` attributes of their own: model, tokens, and durations in milliseconds."""

from __future__ import annotations

from collector.dialects.dialect import Dialect, of, one_of
from collector.request import ObservedBy, Operation

_MILLISECOND = 1e-3

LLM_ATTRIBUTES = Dialect(
    name="llm_attributes",
    title="Hand-written llm.* attributes",
    marks=("llm.model",),
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    operation=Operation.CHAT,
    fields={
        "provider": one_of("llm.provider"),
        "requested_model": one_of("llm.model"),
        "response_id": one_of("llm.response_id", "llm.response.id"),
        "request_id": one_of("llm.request_id", "llm.request.id"),
        "stream": one_of("llm.stream", "llm.streaming"),
        "max_tokens": one_of("llm.max_tokens"),
        "input_tokens": one_of("llm.input_tokens", "llm.prompt_tokens"),
        "cached_tokens": one_of("llm.cached_tokens"),
        "output_tokens": one_of("llm.output_tokens", "llm.completion_tokens"),
        "ttft_seconds": one_of("llm.ttft_ms", scale=_MILLISECOND) + one_of("llm.ttft_seconds"),
        "latency_seconds": one_of("llm.latency_ms", scale=_MILLISECOND) + one_of("llm.latency_seconds"),
        "finish_reason": one_of("llm.finish_reason"),
        "http_status": one_of("llm.status_code", "http.response.status_code", "http.status_code"),
        "fallback": one_of("llm.fallback"),
    },
    error_types=("error.type", "llm.error"),
    error_texts=frozenset({"llm.error_message", "error.message"}),
    unknown=("what its author did not write down",),
)
