"""LangSmith's SDK: runs as spans. Only those of kind ``llm`` are calls; chains repeat their usage."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, Role, never, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.request import ObservedBy, Operation

_KIND = "langsmith.span.kind"
_INPUT = "gen_ai.usage.input_token_details"
_OUTPUT = "gen_ai.usage.output_token_details"

LANGSMITH = replace(
    GEN_AI,
    name="langsmith",
    title="LangSmith SDK",
    marks=(_KIND,),
    recognises=lambda span: span.attributes[_KIND] == "llm",
    besides="which says llm",
    observed_by=of(ObservedBy.CLIENT),
    operation=Operation.CHAT,
    finish_expected=never,
    fields={
        **{field: sources for field, sources in GEN_AI.fields.items() if field != "ttft_seconds"},
        "session": one_of("langsmith.metadata.session_id", "langsmith.metadata.thread_id", "gen_ai.conversation.id"),
        "end_user": one_of("langsmith.metadata.user_id"),
        # gen_ai.system names the framework.
        "provider": one_of("langsmith.metadata.ls_provider", "gen_ai.provider.name", "gen_ai.system"),
        "max_tokens": one_of("gen_ai.request.max_tokens", "langsmith.metadata.ls_max_tokens"),
        "stream": one_of("langsmith.request.streaming"),
        "cached_tokens": one_of("gen_ai.usage.cache_read.input_tokens", f"{_INPUT}#cache_read"),
        "reasoning_tokens": one_of("gen_ai.usage.reasoning.output_tokens", f"{_OUTPUT}#reasoning"),
    },
    documents={_INPUT: ("cache_read",), _OUTPUT: ("reasoning",)},
    unknown=("tenant, unless metadata names it", "HTTP status", "TTFT", "cost"),
)

LANGSMITH_RUN = Dialect(
    name="langsmith_run",
    title="LangSmith SDK, chains, tools and retrievers",
    scopes=("langsmith",),
    marks=(_KIND,),
    observed_by=of(ObservedBy.CLIENT),
    role=Role.NOTHING,
)
