"""Bifrost: a span per attempt, with team, customer and virtual key."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import never, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.request import ObservedBy

_MILLISECOND = 1e-3

BIFROST = replace(
    GEN_AI,
    name="bifrost",
    title="Bifrost",
    scopes=("bifrost-otel-plugin",),
    marks=("gen_ai.number_of_retries", "gen_ai.virtual_key_id", "gen_ai.selected_key_id", "gen_ai.fallback_index"),
    recognises=lambda span: "gen_ai.request.model" in span.attributes,
    besides="`gen_ai.request.model`",
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    finish_expected=never,
    fields={
        **GEN_AI.fields,
        "tenant": one_of("gen_ai.team_id", "gen_ai.customer_id", "gen_ai.virtual_key_id"),
        "api_key_hash": one_of("gen_ai.virtual_key_id"),
        "api_key_alias": one_of("gen_ai.virtual_key_name"),
        "end_user": one_of("gen_ai.request.user"),
        "choice_count": one_of("gen_ai.request.n"),
        "cached_tokens": one_of("gen_ai.usage.prompt_token_details.cached_read_tokens", "gen_ai.usage.cache_read.input_tokens"),
        "reasoning_tokens": one_of("gen_ai.usage.completion_token_details.reasoning_tokens"),
        "ttft_seconds": one_of("gen_ai.response.time_to_first_token", scale=_MILLISECOND),
        "finish_reason": one_of("gen_ai.response.finish_reason", "gen_ai.response.finish_reasons"),
        "retries": one_of("gen_ai.number_of_retries"),
        "fallback": one_of("gen_ai.fallback_index"),
    },
    error_types=("gen_ai.error.type", "error.type", "gen_ai.error.code"),
    error_texts=frozenset({"gen_ai.error", "error.message"}),
    unknown=("HTTP status", "backend", "an answer from its own cache"),
)
