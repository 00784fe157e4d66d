"""Envoy AI gateway in both of its modes: OpenInference's names (default) and GenAI's. A gateway's view, told by the scope."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import of
from collector.dialects.gen_ai import GEN_AI, is_call
from collector.dialects.openinference import OPENINFERENCE
from collector.request import ObservedBy

_SCOPES = ("envoyproxy/ai-gateway",)
_FIRST_TOKEN = frozenset({"First Token Stream Event"})

ENVOY_AI_OPENINFERENCE = replace(
    OPENINFERENCE,
    name="envoy_ai_openinference",
    title="Envoy AI gateway, OpenInference mode",
    scopes=_SCOPES,
    marks=(),
    recognises=lambda span: span.attributes.get("openinference.span.kind") in ("LLM", "EMBEDDING", "RERANKER"),
    besides="`openinference.span.kind` is LLM, EMBEDDING or RERANKER",
    observed_by=of(ObservedBy.GATEWAY),
    unknown=("tenant", "HTTP status, other than in the error's text", "backend"),
)

ENVOY_AI_GEN_AI = replace(
    GEN_AI,
    name="envoy_ai_gen_ai",
    title="Envoy AI gateway, GenAI mode",
    scopes=_SCOPES,
    marks=(),
    recognises=is_call,
    observed_by=of(ObservedBy.GATEWAY),
    first_token_events=_FIRST_TOKEN,
    unknown=("tenant", "HTTP status: 500, 502 and 503 are all 500", "backend"),
)
