"""One file per producer of spans, and the ordered table of them: the first that recognises a span reads it."""

from __future__ import annotations

from collector.dialects.dialect import Dialect
from collector.dialects.gen_ai import GEN_AI
from collector.dialects.llm_attributes import LLM_ATTRIBUTES
from collector.dialects.vllm import VLLM
from collector.span import Span

DIALECTS = (VLLM, GEN_AI, LLM_ATTRIBUTES)
"""vLLM comes first: its span carries the older GenAI names too."""


def recognise(span: Span) -> Dialect | None:
    """The dialect of a span; ``None`` for a span that is no LLM call."""
    return next((dialect for dialect in DIALECTS if dialect.recognises(span)), None)


__all__ = ["DIALECTS", "Dialect", "recognise"]
