"""Spans of engines."""

from __future__ import annotations

from collector.request import Outcome, TokenProvenance
from collector.span import StatusCode
from tests.collector.dialects.keys import ENGINE, SERVER, Example, Row
from tests.collector.dialects.sent import Sendable, Sent

VLLM_KEYS: dict[str, Sendable] = {
    "gen_ai.request.id": "chatcmpl-1",
    "gen_ai.request.max_tokens": 64,
    "gen_ai.usage.prompt_tokens": 740,
    "gen_ai.usage.completion_tokens": 32,
    "gen_ai.latency.time_in_queue": 0.01,
    "gen_ai.latency.time_to_first_token": 0.2,
    "gen_ai.latency.e2e": 1.5,
}
VLLM_ROW: Row = {
    "observed_by": ENGINE,
    "request_id": "chatcmpl-1",
    "input_tokens": 740,
    "output_tokens": 32,
    "token_provenance": TokenProvenance.ENGINE,
    "ttft_seconds": 0.2,
    "latency_seconds": 1.5,
    "outcome": Outcome.OK,
}
PLUGIN_KEYS: dict[str, Sendable] = {
    **VLLM_KEYS,
    "gen_ai.usage.cached_tokens": 640,
    "gen_ai.response.finish_reason": "length",
    "llm_slo.preemptions": 2,
}
PLUGIN_ROW: Row = {**VLLM_ROW, "queue_seconds": 0.01, "cached_tokens": 640, "finish_reason": "length", "preemptions": 2}

ENGINES = {
    "sglang": Example(
        Sent(
            {
                "rid": "4f3a",
                "module": "sglang::request",
                "bootstrap_room": "0x1f",
                "gen_ai.request.id": "0_4f3a",
                "gen_ai.usage.prompt_tokens": 740,
                "gen_ai.usage.completion_tokens": 32,
                "gen_ai.usage.cached_tokens": 512,
                "gen_ai.response.model": "tiny",
                "gen_ai.response.finish_reasons": '["stop"]',
                "gen_ai.latency.time_to_first_token": 0.2,
                "gen_ai.latency.e2e": 1.5,
            },
            scope="sglang server",
        ),
        {
            **VLLM_ROW,
            "request_id": "0_4f3a",
            "response_model": "tiny",
            "cached_tokens": 512,
            "finish_reason": "stop",
            "queue_seconds": None,
        },
    ),
    "sglang_thread": Example(
        Sent(
            {"host_id": "a", "pid": 7, "thread_label": "Scheduler", "type": "abort", "status_code": 400},
            scope="sglang server",
            status=StatusCode.ERROR,
        ),
        None,
    ),
    "sglang_stage": Example(Sent({"forward_mode": "decode"}, scope="sglang server"), None),
    "tensorrt_llm": Example(
        Sent({**VLLM_KEYS, "gen_ai.latency.kv_cache_transfer_time": 0.01}, scope="trt.llm", kind=SERVER), VLLM_ROW
    ),
    "vllm_plugin": Example(Sent(PLUGIN_KEYS, scope="llm_slo.vllm"), PLUGIN_ROW),
    "vllm_plugin_beside": Example(Sent(PLUGIN_KEYS, scope="llm_slo.vllm.beside"), PLUGIN_ROW),
    "vllm": Example(Sent(VLLM_KEYS, scope="vllm.llm_engine", kind=SERVER), {**VLLM_ROW, "queue_seconds": 0.01}),
}
