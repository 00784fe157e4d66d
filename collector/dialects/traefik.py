"""Traefik Hub's AI gateway: GenAI names on the span of the request. Open Traefik's spans are HTTP server spans."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import never, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.request import ObservedBy

TRAEFIK = replace(
    GEN_AI,
    name="traefik",
    title="Traefik Hub AI gateway",
    scopes=("github.com/traefik/traefik",),
    marks=(),
    recognises=lambda span: "gen_ai.request.model" in span.attributes or "gen_ai.usage.input_tokens" in span.attributes,
    besides="`gen_ai.request.model` or `gen_ai.usage.input_tokens`",
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    finish_expected=never,
    fields={**GEN_AI.fields, "server_address": one_of("traefik.service.name", "server.address")},
    unknown=("tenant", "cached tokens", "TTFT", "finish reason"),
)
