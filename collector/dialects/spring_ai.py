"""Spring AI by Micrometer: GenAI names whose every value is text, and ``none`` for what is not known.

ChatClient and its advisors wrap the call in spans without tokens.
"""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, Role, never, of, one_of
from collector.dialects.gen_ai import GEN_AI, is_call
from collector.request import ObservedBy
from collector.span import Span

_SCOPES = ("org.springframework.boot", "io.micrometer.*")
_KINDS = ("spring.ai.kind", "spring.ai.model.request.tool.names", "spring.ai.chat.client.stream")


def _wraps(span: Span) -> bool:
    attributes = span.attributes
    return attributes.get("gen_ai.system") == "spring_ai" or attributes.get("gen_ai.operation.name") == "framework"


SPRING_AI = replace(
    GEN_AI,
    name="spring_ai",
    title="Spring AI",
    scopes=_SCOPES,
    marks=_KINDS,
    recognises=lambda span: is_call(span) and not _wraps(span),
    besides="an operation that is one call of a model, and `gen_ai.system` other than spring_ai",
    observed_by=of(ObservedBy.CLIENT),
    finish_expected=never,
    fields={**GEN_AI.fields, "session": one_of("spring.ai.chat.client.conversation.id", "gen_ai.conversation.id")},
    unknown=("tenant", "HTTP status", "TTFT", "cost", "reasoning tokens"),
)

SPRING_AI_CLIENT = Dialect(
    name="spring_ai_client",
    title="Spring AI, ChatClient and advisors",
    scopes=_SCOPES,
    marks=_KINDS,
    recognises=_wraps,
    besides="`gen_ai.system` is spring_ai, or the operation is framework",
    observed_by=of(ObservedBy.CLIENT),
    role=Role.NOTHING,
)
