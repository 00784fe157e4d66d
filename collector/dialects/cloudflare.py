"""Cloudflare's AI gateway. Whoever calls it adds attributes of any name (``cf-aig-metadata``): none is believed but GenAI's.

Prompt and answer are always on the span, and always dropped here.
"""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import never, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.request import ObservedBy, Operation

_FIELDS = ("requested_model", "response_model", "input_tokens", "cached_tokens", "output_tokens", "reported_cost_usd")

CLOUDFLARE = replace(
    GEN_AI,
    name="cloudflare",
    title="Cloudflare AI gateway",
    marks=("gen_ai.model.provider",),
    recognises=lambda span: "gen_ai.request.model" in span.attributes,
    besides="`gen_ai.request.model`",
    observed_by=of(ObservedBy.GATEWAY),
    operation=Operation.CHAT,
    finish_expected=never,
    caller_chosen=True,
    fields={
        **{field: GEN_AI.fields[field] for field in _FIELDS},
        "operation": one_of("gen_ai.operation.name"),
        "provider": one_of("gen_ai.model.provider"),
        "finish_reason": one_of("gen_ai.response.finish_reasons"),
    },
    error_types=(),
    unknown=("tenant, unless an attribute is configured for it", "HTTP status", "TTFT", "finish reason", "a failure"),
)
