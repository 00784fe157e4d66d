"""OpenTelemetry's GenAI semantic conventions, in both generations of names.

The older names (``gen_ai.system``, ``gen_ai.usage.prompt_tokens``) and the present ones (``gen_ai.provider.name``,
``gen_ai.usage.input_tokens``) are read alike. A span of kind SERVER is a gateway's view, any other a client's.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, one_of
from collector.request import ObservedBy
from collector.span import Span, SpanKind

_CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings", "rerank", "image_generation"})
"""Values of gen_ai.operation.name that are one call of a model. Agents and tools wrap such calls and are none themselves."""


def _recognises(span: Span) -> bool:
    attributes = span.attributes
    operation = attributes.get("gen_ai.operation.name")
    if operation is not None:
        return operation in _CALLS
    # The older generation did not require an operation.
    return "gen_ai.request.model" in attributes and ("gen_ai.system" in attributes or "gen_ai.provider.name" in attributes)


GEN_AI = Dialect(
    name="gen_ai",
    recognises=_recognises,
    observed_by=lambda span: ObservedBy.GATEWAY if span.kind is SpanKind.SERVER else ObservedBy.CLIENT,
    finish_expected=True,
    fields={
        "operation": one_of("gen_ai.operation.name"),
        "provider": one_of("gen_ai.provider.name", "gen_ai.system"),
        "requested_model": one_of("gen_ai.request.model"),
        "response_model": one_of("gen_ai.response.model"),
        "response_id": one_of("gen_ai.response.id"),
        "request_id": one_of("llm_slo.request.id", "http.request.header.x-request-id"),
        "api_key_hash": one_of("llm_slo.api_key.hash"),
        "api_key_alias": one_of("llm_slo.api_key.alias"),
        "stream": one_of("gen_ai.request.stream"),
        "max_tokens": one_of("gen_ai.request.max_tokens"),
        "choice_count": one_of("gen_ai.request.choice.count"),
        "input_tokens": one_of("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "cached_tokens": one_of("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cached_tokens"),
        "output_tokens": one_of("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "reasoning_tokens": one_of("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
        "ttft_seconds": one_of("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"),
        "finish_reason": one_of("gen_ai.response.finish_reasons"),
        "http_status": one_of("http.response.status_code", "http.status_code"),
        "server_address": one_of("server.address"),
        "server_port": one_of("server.port"),
    },
    error_texts=frozenset({"error.message"}),
)
