"""Records of our own plugin inside vLLM (``vllm_plugin``): one per finished request, with what vLLM's spans do not say."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, one_of
from collector.dialects.vllm import VLLM

VLLM_PLUGIN = Dialect(
    name="vllm_plugin",
    title="llm-slo's plugin inside vLLM",
    scopes=("llm_slo.vllm",),
    observed_by=VLLM.observed_by,
    provenance=VLLM.provenance,
    fields={
        **VLLM.fields,
        "cached_tokens": one_of("gen_ai.usage.cached_tokens"),
        "finish_reason": one_of("gen_ai.response.finish_reason"),
        "preemptions": one_of("llm_slo.preemptions"),
    },
    unknown=("tenant", "trace: it knows the request's id only"),
)
VLLM_PLUGIN_BESIDE = replace(
    VLLM_PLUGIN,
    name="vllm_plugin_beside",
    title="llm-slo's plugin inside a vLLM that exports spans too: its record becomes part of the span's row",
    scopes=("llm_slo.vllm.beside",),
)
