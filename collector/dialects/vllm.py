"""vLLM's ``llm_request`` span: one per finished sequence.

It says neither tenant nor finish reason nor cached tokens, and only its first engine, before 0.11, says the model; the resource
names replica and model where the operator sets OTEL_RESOURCE_ATTRIBUTES. With n choices a prompt is counted once per sequence.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, of, one_of
from collector.request import ObservedBy, TokenProvenance

VLLM = Dialect(
    name="vllm",
    title="vLLM's request spans",
    marks=("gen_ai.latency.time_in_queue", "gen_ai.latency.e2e"),
    recognises=lambda span: "gen_ai.request.id" in span.attributes,
    besides="`gen_ai.request.id`",
    observed_by=of(ObservedBy.ENGINE),
    provenance=TokenProvenance.ENGINE,
    fields={
        "request_id": one_of("gen_ai.request.id"),
        "response_model": one_of("gen_ai.response.model"),
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
    unknown=("tenant", "model since 0.11, unless the resource names it", "finish reason", "cached tokens"),
)
