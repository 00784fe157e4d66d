"""Portkey's logs as spans: GenAI names, one span per logged call, the HTTP status as text in the status message."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import of
from collector.dialects.gen_ai import GEN_AI, is_call
from collector.request import ObservedBy

PORTKEY = replace(
    GEN_AI,
    name="portkey",
    title="Portkey",
    scopes=("custom.genai.instrumentation",),
    marks=(),
    recognises=is_call,
    observed_by=of(ObservedBy.GATEWAY),
    unknown=("tenant, unless the resource names it", "TTFT", "cost", "attempts", "an answer from its own cache"),
)
