"""OpenTelemetry's GenAI semantic conventions, in both generations of names, and the libraries that follow them closely.

The older names (``gen_ai.system``, ``gen_ai.usage.prompt_tokens``) and the present ones (``gen_ai.provider.name``,
``gen_ai.usage.input_tokens``) are read alike. A span of kind SERVER is a gateway's view, any other a client's.
"""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, never, of, one_of
from collector.request import ObservedBy, Operation
from collector.span import Span, SpanKind

CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings", "rerank", "image_generation"})
"""Values of gen_ai.operation.name that are one call of a model. Agents and tools wrap such calls and are none themselves."""


_FINISHING = frozenset({"chat", "text_completion", "generate_content"})
"""Operations whose answer ends for a reason; an embedding just is."""
_OUTPUT = frozenset({"gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"})
MARKS = ("gen_ai.operation.name", "gen_ai.request.model")


def is_call(span: Span) -> bool:
    """Whether a span with GenAI names tells of one call of a model."""
    attributes = span.attributes
    operation = attributes.get("gen_ai.operation.name")
    if operation is not None:
        return operation in CALLS
    # The older generation did not require an operation.
    return "gen_ai.request.model" in attributes and ("gen_ai.system" in attributes or "gen_ai.provider.name" in attributes)


def finishes(span: Span) -> bool:
    """Whether the answer to a call ends for a reason."""
    return span.attributes.get("gen_ai.operation.name", "chat") in _FINISHING


def may_have_broken_off(span: Span) -> bool:
    """Whether a call without a finish reason is suspect: what was used comes at the end of an answer, as that does."""
    return finishes(span) and _OUTPUT.isdisjoint(span.attributes) and span.attributes.get("gen_ai.request.stream") is not False


GEN_AI = Dialect(
    name="gen_ai",
    title="OpenTelemetry GenAI semantic conventions",
    marks=MARKS,
    recognises=is_call,
    besides="an operation that is one call of a model, or a provider where no operation is named",
    observed_by=lambda span: ObservedBy.GATEWAY if span.kind is SpanKind.SERVER else ObservedBy.CLIENT,
    finish_expected=may_have_broken_off,
    absent=frozenset({"none"}),
    fields={
        "operation": one_of("gen_ai.operation.name"),
        "provider": one_of("gen_ai.provider.name", "gen_ai.system"),
        "requested_model": one_of("gen_ai.request.model"),
        "response_model": one_of("gen_ai.response.model"),
        "response_id": one_of("gen_ai.response.id"),
        "request_id": one_of("llm_slo.request.id", "http.request.header.x-request-id"),
        "api_key_hash": one_of("llm_slo.api_key.hash"),
        "api_key_alias": one_of("llm_slo.api_key.alias"),
        "end_user": one_of("enduser.id", "user.id"),
        "session": one_of("gen_ai.conversation.id", "session.id"),
        "stream": one_of("gen_ai.request.stream"),
        "max_tokens": one_of("gen_ai.request.max_tokens"),
        "choice_count": one_of("gen_ai.request.choice.count"),
        "input_tokens": one_of("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "cached_tokens": one_of("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cached_tokens"),
        "output_tokens": one_of("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "reasoning_tokens": one_of("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
        "ttft_seconds": one_of(
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.client.operation.time_to_first_chunk",
            "gen_ai.server.time_to_first_token",
        ),
        "finish_reason": one_of("gen_ai.response.finish_reasons"),
        "http_status": one_of("http.response.status_code", "http.status_code"),
        "server_address": one_of("server.address"),
        "server_port": one_of("server.port"),
        "reported_cost_usd": one_of("gen_ai.usage.cost"),
    },
    error_texts=frozenset({"error.message"}),
    unknown=("tenant, unless an attribute names it", "HTTP status, where the library does not state it"),
)

GEN_AI_OPENAI = replace(
    GEN_AI,
    name="gen_ai_openai",
    title="OpenTelemetry's OpenAI instrumentation",
    scopes=("opentelemetry.instrumentation.genai.openai", "opentelemetry.instrumentation.openai_v2"),
    marks=(),
    observed_by=of(ObservedBy.CLIENT),
    # Its word for a choice that did not come to an end; a failure has a class besides.
    abandoned={"gen_ai.response.finish_reasons": "error"},
)

OPENLLMETRY = replace(
    GEN_AI,
    name="openllmetry",
    title="OpenLLMetry's OpenAI instrumentation",
    scopes=("opentelemetry.instrumentation.openai.v*",),
    marks=(),
    observed_by=of(ObservedBy.CLIENT),
    # A stream that broke off is reported as OK, without a finish reason: nothing tells it from one that was left alone.
    finish_expected=never,
    operations={"completion": Operation.COMPLETION},
    # Versions before 0.53 have names of their own for much of it.
    fields={
        **GEN_AI.fields,
        "operation": one_of("gen_ai.operation.name", "llm.request.type"),
        "end_user": one_of("gen_ai.user", "llm.user"),
        "stream": one_of("gen_ai.is_streaming", "llm.is_streaming", "gen_ai.request.stream"),
        "cached_tokens": one_of("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
        "reasoning_tokens": one_of(
            "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens", "llm.usage.reasoning_tokens"
        ),
        "finish_reason": one_of("gen_ai.response.finish_reasons", "gen_ai.completion.0.finish_reason"),
        "server_url": one_of("gen_ai.openai.api_base"),
    },
    first_token_events=frozenset({"gen_ai.content.completion.chunk", "llm.content.completion.chunk"}),
    unknown=("tenant", "HTTP status", "an error in the middle of a stream: it says OK"),
)

_OPENLIT_STREAM = ("gen_ai.request.stream", "gen_ai.request.is_stream")
_SDKS = ("openai.", "anthropic.", "mistralai.", "groq.", "cohere.", "together.", "ollama.", "litellm.")
"""Modules of client libraries, ahead of the classes of their errors."""


def _is_openlit_call(span: Span) -> bool:
    """Versions before 1.37 write nothing of a call that failed but the exception."""
    if is_call(span):
        return True
    said = (event.attributes.get("exception.type") for event in span.events)
    return not any(key.startswith("gen_ai.") for key in span.attributes) and any(
        isinstance(name, str) and name.startswith(_SDKS) for name in said
    )


def _openlit_estimates(span: Span) -> bool:
    """It counts a stream's tokens by itself, unless upstream sent them: then it states the cached ones of them too."""
    attributes = span.attributes
    is_stream = any(attributes.get(key) is True for key in _OPENLIT_STREAM)
    return is_stream and "gen_ai.usage.cache_read.input_tokens" not in attributes


OPENLIT = replace(
    GEN_AI,
    name="openlit",
    title="openlit",
    scopes=("openlit.*",),
    marks=(),
    recognises=_is_openlit_call,
    besides="an operation that is one call of a model, or nothing but the exception of a client library",
    observed_by=of(ObservedBy.CLIENT),
    fields={
        **{field: sources for field, sources in GEN_AI.fields.items() if field != "ttft_seconds"},
        "end_user": one_of("gen_ai.request.user"),
        "stream": one_of(*_OPENLIT_STREAM),
    },
    estimates=_openlit_estimates,
    unknown=(
        "tenant",
        "HTTP status",
        "TTFT: the one that it states is not the time of the first token",
        "a call that broke off: no span",
    ),
)
