"""LiteLLM's proxy, in its three ways of writing spans.

*v2* (``LITELLM_OTEL_V2``): a ``chat`` span per attempt inside the server span. *v1*: a ``litellm_request`` span per attempt
with ``USE_OTEL_LITELLM_REQUEST_SPAN``; without it the same attributes land on whatever span is active. *raw*: the span of the
provider's own answer, which v1 writes beside; it tells of a call only where v1's attributes landed elsewhere or got lost.

A failed attempt states zero tokens. After a fallback v1 names the deployment and v2 the group as the model.
"""

from __future__ import annotations

from collections.abc import Callable

from collector.dialects.dialect import Dialect, Role, Source, of, one_of
from collector.dialects.gen_ai import finishes
from collector.request import ObservedBy
from collector.span import Span, SpanKind, StatusCode

SCOPE = "litellm"
_PROVIDERS = (
    *("openai", "hosted_vllm", "vllm", "azure", "azure_ai", "anthropic", "bedrock", "gemini", "vertex_ai", "mistral", "groq"),
    *("together_ai", "fireworks_ai", "deepseek", "ollama", "ollama_chat", "openrouter", "cohere", "custom_openai"),
)
_ERROR_TEXTS = frozenset({"error.message", "error.stack_trace", "litellm.provider.error.stack_trace"})
_V1_KEY = {
    "tenant": one_of("metadata.user_api_key_team_id", "metadata.user_api_key_org_id"),
    "api_key_hash": one_of("metadata.user_api_key_hash"),
    "api_key_alias": one_of("metadata.user_api_key_alias"),
    "end_user": one_of("llm.user", "metadata.user_api_key_end_user_id"),
}


_USAGE_CREATION, _USAGE_READ = "cache_creation_input_tokens", "cache_read_input_tokens"
_V1_USAGE = "metadata.usage_object"
_V2_TTFT = "gen_ai.response.time_to_first_chunk"
_OPENAI_LIKE = frozenset({"openai", "text-completion-openai", "custom_openai", "openai_like", "hosted_vllm", "vllm"})


def _counted_itself(creation: str, read: str) -> Callable[[Span], bool]:
    """Whether LiteLLM counted the tokens itself, because a stream ended before its usage came: its caller left, or it broke.

    Nothing says so but two zeros for caches of Anthropic's kind, which servers of OpenAI's kind never state.
    """

    def counted(span: Span) -> bool:
        attributes = span.attributes
        provider = attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system")
        return provider in _OPENAI_LIKE and attributes.get(creation) == 0 and attributes.get(read) == 0

    return counted


LITELLM_V2 = Dialect(
    name="litellm_v2",
    title="LiteLLM proxy, v2 spans",
    marks=("litellm.call_type",),
    recognises=lambda span: "litellm.call_id" in span.attributes,
    besides="`litellm.call_id`",
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    finish_expected=finishes,
    fields={
        "tenant": one_of("litellm.team.id", "litellm.metadata.user_api_key_org_id"),
        "api_key_hash": one_of("litellm.api_key.hash"),
        "api_key_alias": one_of("litellm.metadata.user_api_key_alias"),
        "end_user": one_of("litellm.end_user.id", "litellm.metadata.user_api_key_end_user_id"),
        "session": one_of("gen_ai.conversation.id"),
        "operation": one_of("gen_ai.operation.name", "litellm.call_type"),
        "provider": one_of("gen_ai.provider.name", "gen_ai.system"),
        "requested_model": one_of("gen_ai.request.model"),
        "response_model": one_of("gen_ai.response.model"),
        "response_id": one_of("gen_ai.response.id"),
        "request_id": one_of("litellm.call_id"),
        "stream": one_of("litellm.request.streaming", "llm.is_streaming"),
        "max_tokens": one_of("gen_ai.request.max_tokens"),
        "choice_count": one_of("gen_ai.request.choice.count"),
        "input_tokens": one_of("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "cached_tokens": one_of("gen_ai.usage.cache_read.input_tokens"),
        "output_tokens": one_of("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "reasoning_tokens": one_of("gen_ai.usage.reasoning.output_tokens"),
        "ttft_seconds": one_of(_V2_TTFT),
        "finish_reason": one_of("gen_ai.response.finish_reasons"),
        "http_status": one_of("litellm.provider.error.code"),
        "reported_cost_usd": one_of("litellm.cost.total"),
        "server_address": one_of("server.address"),
        "server_port": one_of("server.port"),
    },
    fingerprint=("gen_ai.usage.cache_creation.input_tokens",),
    # A stream that failed is not called one; the time of its first token gives it away.
    streams=lambda span: True if _V2_TTFT in span.attributes else None if span.status is StatusCode.ERROR else False,
    estimates=_counted_itself("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_read.input_tokens"),
    error_texts=_ERROR_TEXTS,
    unknown=(
        "a client that left: it looks like success, with an invented finish reason and LiteLLM's own count of tokens",
        "whether a call that failed before its first token was a stream",
        "queue time",
        "an answer from its own cache: it is a request without tokens",
    ),
)


LITELLM_V1 = Dialect(
    name="litellm_v1",
    title="LiteLLM proxy, v1 spans",
    # Without the flag the attributes are on spans of other scopes; the first versions have no id of the call.
    scopes=(SCOPE,),
    marks=("litellm.call_id",),
    recognises=lambda span: "llm.request.type" in span.attributes,
    besides="`llm.request.type`",
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    fields={
        **_V1_KEY,
        "operation": one_of("gen_ai.operation.name", "llm.request.type"),
        "provider": one_of("gen_ai.system"),
        "requested_model": one_of("litellm.model_group", "gen_ai.request.model"),
        "response_model": one_of("gen_ai.response.model"),
        "response_id": one_of("gen_ai.response.id"),
        "request_id": one_of("litellm.call_id"),
        "stream": one_of("llm.is_streaming"),
        "max_tokens": one_of("gen_ai.request.max_tokens"),
        "input_tokens": one_of("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "cached_tokens": one_of(
            "gen_ai.usage.cache_read.input_tokens",
            "metadata.usage_object#prompt_tokens_details.cached_tokens",
            "metadata.usage_object#cache_read_input_tokens",
        ),
        "output_tokens": one_of("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "reasoning_tokens": one_of("metadata.usage_object#completion_tokens_details.reasoning_tokens"),
        "finish_reason": one_of("gen_ai.response.finish_reasons"),
        "http_status": one_of("error.code", "http.response.status_code", "http.status_code"),
        "reported_cost_usd": one_of("gen_ai.cost.total_cost"),
        "server_url": one_of("hidden_params#api_base"),
        # It names the key of its cache only where the answer came from there.
        "gateway_cache_key": one_of("hidden_params#cache_key"),
        "path": one_of("url.path", "http.target", "http.route"),
    },
    estimates=_counted_itself(f"{_V1_USAGE}#{_USAGE_CREATION}", f"{_V1_USAGE}#{_USAGE_READ}"),
    error_texts=_ERROR_TEXTS,
    documents={
        _V1_USAGE: (
            "prompt_tokens_details.cached_tokens",
            _USAGE_READ,
            _USAGE_CREATION,
            "completion_tokens_details.reasoning_tokens",
        ),
        "hidden_params": ("api_base", "cache_key"),
    },
    unknown=(
        "TTFT (it is a metric only)",
        "a client that left, unless FastAPI's own span says so: it looks like success, with LiteLLM's own count of tokens",
        "tokens, where the flag is not set",
    ),
)


def _raw(field: str) -> tuple[Source, ...]:
    return one_of(*(f"llm.{provider}.{field}" for provider in _PROVIDERS))


LITELLM_RAW = Dialect(
    name="litellm_raw",
    title="LiteLLM proxy, v1, the provider's answer",
    scopes=(SCOPE,),
    recognises=lambda span: (
        span.kind is not SpanKind.SERVER and any(f"llm.{provider}.model" in span.attributes for provider in _PROVIDERS)
    ),
    besides="`llm.PROVIDER.model`",
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    secondary=True,
    fields={
        **_V1_KEY,
        "requested_model": _raw("model"),
        "response_id": _raw("id"),
        "stream": _raw("stream"),
        "max_tokens": _raw("max_tokens"),
        "input_tokens": _raw("usage#prompt_tokens"),
        "cached_tokens": _raw("usage#prompt_tokens_details.cached_tokens"),
        "output_tokens": _raw("usage#completion_tokens"),
        "reasoning_tokens": _raw("usage#completion_tokens_details.reasoning_tokens"),
    },
    documents={
        f"llm.{provider}.usage": (
            "prompt_tokens",
            "completion_tokens",
            "prompt_tokens_details.cached_tokens",
            "completion_tokens_details.reasoning_tokens",
        )
        for provider in _PROVIDERS
    },
    unknown=("the model's public name", "tokens of a stream"),
)

LITELLM_PROXY = Dialect(
    name="litellm_proxy",
    title="LiteLLM proxy, v1, refused requests",
    scopes=(SCOPE,),
    recognises=lambda span: span.kind is SpanKind.SERVER,
    besides="kind SERVER",
    observed_by=of(ObservedBy.GATEWAY),
    role=Role.PART,
    fields={**_V1_KEY, "http_status": one_of("error.code", "http.response.status_code")},
    error_texts=_ERROR_TEXTS,
)
