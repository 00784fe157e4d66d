"""Vercel's AI SDK, in both of its generations. The outer span of either repeats the tokens of what is inside.

*legacy* (up to 6): names of its own, and calls are the operations that end in ``.doGenerate``, ``.doStream`` or ``.doEmbed``.
*7*: GenAI names on scope ``gen_ai``, and calls are the spans of kind CLIENT.
"""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, Role, of, one_of
from collector.dialects.gen_ai import GEN_AI, is_call
from collector.request import ObservedBy, Operation
from collector.span import Span, SpanKind

_OPERATION = "ai.operationId"
_CALLS = (".doGenerate", ".doStream", ".doEmbed")
_MILLISECOND = 1e-3
_FIRST_CHUNK = ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk")


def _operation(span: Span) -> str:
    return str(span.attributes.get(_OPERATION, ""))


VERCEL_LEGACY = Dialect(
    name="vercel_legacy",
    title="Vercel AI SDK, to version 6",
    marks=(_OPERATION,),
    recognises=lambda span: _operation(span).endswith(_CALLS) and not _operation(span).endswith(".doEmbed"),
    besides="which ends in .doGenerate or .doStream",
    observed_by=of(ObservedBy.CLIENT),
    operation=Operation.CHAT,
    streams=lambda span: _operation(span).endswith(".doStream"),
    finish_expected=lambda span: not _operation(span).endswith(".doEmbed"),
    fields={
        "requested_model": one_of("gen_ai.request.model", "ai.model.id"),
        "response_model": one_of("gen_ai.response.model", "ai.response.model"),
        "provider": one_of("gen_ai.system", "ai.model.provider"),
        "response_id": one_of("gen_ai.response.id", "ai.response.id"),
        "max_tokens": one_of("gen_ai.request.max_tokens", "ai.settings.maxOutputTokens", "ai.settings.maxTokens"),
        "input_tokens": one_of("gen_ai.usage.input_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        "cached_tokens": one_of("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
        "output_tokens": one_of("gen_ai.usage.output_tokens", "ai.usage.outputTokens", "ai.usage.completionTokens"),
        "reasoning_tokens": one_of("ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"),
        "ttft_seconds": one_of(*_FIRST_CHUNK, scale=_MILLISECOND),
        "finish_reason": one_of("gen_ai.response.finish_reasons", "ai.response.finishReason"),
    },
    event_fields={"ttft_seconds": one_of(*_FIRST_CHUNK, scale=_MILLISECOND)},
    unknown=("tenant, unless metadata names it", "HTTP status", "attempts", "cost"),
)

VERCEL_EMBEDDING = replace(
    VERCEL_LEGACY,
    name="vercel_embedding",
    title="Vercel AI SDK, to version 6, embeddings",
    recognises=lambda span: _operation(span).endswith(".doEmbed"),
    besides="which ends in .doEmbed",
    operation=Operation.EMBEDDING,
)

VERCEL_OUTER = Dialect(
    name="vercel_outer",
    title="Vercel AI SDK, to version 6, the sum of the steps",
    marks=(_OPERATION,),
    observed_by=of(ObservedBy.CLIENT),
    role=Role.NOTHING,
)

VERCEL = replace(
    GEN_AI,
    name="vercel",
    title="Vercel AI SDK 7",
    scopes=("gen_ai",),
    marks=(),
    recognises=lambda span: span.kind is SpanKind.CLIENT and is_call(span),
    besides="kind CLIENT, and an operation that is one call of a model",
    observed_by=of(ObservedBy.CLIENT),
    fields={**GEN_AI.fields, "latency_seconds": one_of("gen_ai.client.operation.duration")},
    unknown=("tenant, unless the runtime context names it", "HTTP status", "cost"),
)

VERCEL_STEP = Dialect(
    name="vercel_step",
    title="Vercel AI SDK 7, agents and their steps",
    scopes=("gen_ai",),
    observed_by=of(ObservedBy.CLIENT),
    role=Role.NOTHING,
)
