"""pydantic-ai: ``chat`` spans inside ``invoke_agent`` ones, which repeat the total of the run."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, Role, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.request import ObservedBy

_SCOPES = ("pydantic-ai",)

PYDANTIC_AI = replace(
    GEN_AI,
    name="pydantic_ai",
    title="pydantic-ai",
    scopes=_SCOPES,
    marks=(),
    recognises=lambda span: span.attributes.get("gen_ai.operation.name") in ("chat", "embeddings"),
    besides="`gen_ai.operation.name` is chat or embeddings",
    observed_by=of(ObservedBy.CLIENT),
    fields={
        **GEN_AI.fields,
        # The details repeat what is counted before them: they stand in for it, and are never added.
        "cached_tokens": one_of("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.details.cache_read_tokens"),
        "reasoning_tokens": one_of("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.details.reasoning_tokens"),
        "reported_cost_usd": one_of("operation.cost"),
    },
    unknown=("tenant, unless metadata names it", "HTTP status", "TTFT (it is a metric only)"),
)

PYDANTIC_AI_AGENT = Dialect(
    name="pydantic_ai_agent",
    title="pydantic-ai, runs of agents and tools",
    scopes=_SCOPES,
    observed_by=of(ObservedBy.CLIENT),
    role=Role.NOTHING,
)
