"""vLLM's ``llm_request`` span: one per finished sequence.

It says neither model nor tenant nor finish reason nor cached tokens; the resource names replica and model where the
operator sets OTEL_RESOURCE_ATTRIBUTES. With n choices a prompt is counted once per sequence.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, one_of
from collector.request import ObservedBy, TokenProvenance

VLLM = Dialect(
    name="vllm",
    recognises=lambda span: "gen_ai.latency.time_in_queue" in span.attributes and "gen_ai.request.id" in span.attributes,
    observed_by=lambda span: ObservedBy.ENGINE,
    provenance=TokenProvenance.ENGINE,
    fields={
        "request_id": one_of("gen_ai.request.id"),
        "input_tokens": one_of("gen_ai.usage.prompt_tokens", "gen_ai.usage.input_tokens"),
        "output_tokens": one_of("gen_ai.usage.completion_tokens", "gen_ai.usage.output_tokens"),
        "max_tokens": one_of("gen_ai.request.max_tokens"),
        "choice_count": one_of("gen_ai.request.n"),
        "ttft_seconds": one_of("gen_ai.latency.time_to_first_token"),
        "latency_seconds": one_of("gen_ai.latency.e2e"),
        "queue_seconds": one_of("gen_ai.latency.time_in_queue"),
        "prefill_seconds": one_of("gen_ai.latency.time_in_model_prefill"),
        "decode_seconds": one_of("gen_ai.latency.time_in_model_decode"),
    },
)
