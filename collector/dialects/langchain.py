"""LangChain by OpenLLMetry: chat spans below workflows and tasks. The client library's own span of a call may be inside one."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, Role, never, of, one_of
from collector.dialects.gen_ai import GEN_AI, is_call
from collector.request import ObservedBy

_SCOPES = ("opentelemetry.instrumentation.langchain",)
_PROPERTY = "traceloop.association.properties"

LANGCHAIN = replace(
    GEN_AI,
    name="langchain",
    title="LangChain by OpenLLMetry",
    scopes=_SCOPES,
    marks=(),
    recognises=is_call,
    observed_by=of(ObservedBy.CLIENT),
    finish_expected=never,
    fields={
        **GEN_AI.fields,
        "end_user": one_of(f"{_PROPERTY}.user_id", "gen_ai.user"),
        "session": one_of(f"{_PROPERTY}.session_id", "gen_ai.conversation.id"),
    },
    unknown=("tenant, unless an association property names it", "HTTP status", "TTFT", "cost"),
)

LANGCHAIN_STEP = Dialect(
    name="langchain_step",
    title="LangChain by OpenLLMetry, workflows, tasks and tools",
    scopes=_SCOPES,
    observed_by=of(ObservedBy.CLIENT),
    role=Role.NOTHING,
)
