"""TensorRT-LLM: vLLM's names, told apart by the scope. Context and generation servers write a span each."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import one_of
from collector.dialects.vllm import VLLM

TENSORRT_LLM = replace(
    VLLM,
    name="tensorrt_llm",
    title="TensorRT-LLM",
    scopes=("trt.llm",),
    marks=("gen_ai.latency.kv_cache_transfer_time",),
    fields={**VLLM.fields, "finish_reason": one_of("gen_ai.response.finish_reasons")},
    unknown=("tenant", "model, unless the resource names it", "cached tokens", "prefill and decode times"),
)
