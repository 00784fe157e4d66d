"""Spans of gateways and proxies that other things pass through as well."""

from __future__ import annotations

from collector.request import Operation, Outcome
from collector.span import SpanKind
from tests.collector.dialects.keys import CHAT, GATEWAY, GEN_AI_KEYS, PROVIDER, SERVER, TOKENS, Example
from tests.collector.dialects.sent import Sent

PROXIES = {
    "kong": Example(
        Sent({**GEN_AI_KEYS, **PROVIDER}, scope="kong-internal"), {**CHAT, "observed_by": GATEWAY, "provider": "vllm"}
    ),
    "kong_proxy": Example(
        Sent(
            {"http.method": "POST", "http.url": "http://kong/anything", "http.status_code": 200, "kong.request.id": "k-1"},
            scope="kong-internal",
            kind=SERVER,
        ),
        None,
    ),
    "traefik": Example(
        Sent(
            {
                **{key: value for key, value in GEN_AI_KEYS.items() if "finish" not in key},
                "entry_point": "web",
                "traefik.router.name": "llm@file",
                "traefik.service.name": "vllm@file",
                "http.response.status_code": 200,
            },
            scope="github.com/traefik/traefik",
            kind=SERVER,
        ),
        {**TOKENS, "observed_by": GATEWAY, "replica": "vllm@file", "http_status": 200, "outcome": Outcome.OK},
    ),
    "portkey": Example(
        Sent(
            {
                **GEN_AI_KEYS,
                **PROVIDER,
                "gen_ai.system": "vllm",
                "gen_ai.usage.cache_read.input_tokens": 7,
                "gen_ai.conversation.id": "c-1",
                "server.address": "10.0.0.7",
                "server.port": 8000,
            },
            scope="custom.genai.instrumentation",
            kind=SpanKind.CLIENT,
            message="200",
        ),
        {**CHAT, "observed_by": GATEWAY, "cached_tokens": 7, "replica": "10.0.0.7:8000"},
    ),
    "tensorzero": Example(
        Sent(
            {
                "provider_name": "vllm-1",
                "gen_ai.operation.name": "chat",
                "gen_ai.system": "vllm",
                "gen_ai.request.model": "tiny",
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 19,
                "gen_ai.usage.total_tokens": 59,
                "tensorzero.cost_usd": "0.25",
                "stream": False,
            },
            scope="tensorzero",
        ),
        {
            **TOKENS,
            "observed_by": GATEWAY,
            "provider": "vllm",
            "requested_model": "tiny",
            "stream": False,
            "reported_cost_usd": 0.25,
            "outcome": Outcome.OK,
        },
    ),
    "tensorzero_function": Example(
        Sent(
            {"function_name": "answer", "inference_id": "i-1", "episode_id": "e-1", "tags.tenant": "team-a"}, scope="tensorzero"
        ),
        None,
    ),
    "cloudflare": Example(
        Sent(
            {
                "gen_ai.request.model": "tiny",
                "gen_ai.model.provider": "workers-ai",
                "gen_ai.prompt_json": "secret-prompt-text",
                "gen_ai.completion_json": "secret-prompt-text",
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 19,
                "gen_ai.usage.cost": 0.25,
                "tenant.id": "somebody-else",
                "llm_slo.traffic_class": "synthetic",
                "http.response.status_code": 500,
                "error.type": "OutOfMemoryError",
            }
        ),
        {
            **TOKENS,
            "observed_by": GATEWAY,
            "tenant": "unknown",
            "provider": "workers-ai",
            "http_status": None,
            "reported_cost_usd": 0.25,
            "outcome": Outcome.OK,
        },
    ),
    "dynamo": Example(
        Sent(
            {
                "method": "POST",
                "uri": "/v1/chat/completions",
                "x_request_id": "x-1",
                "request_id": "8c2f",
                "model": "tiny",
                "input_tokens": 40,
                "output_tokens": 19,
                "ttft_ms": 500.0,
                "avg_itl_ms": 12.5,
                "decode_worker_id": 7,
            }
        ),
        {
            **TOKENS,
            "observed_by": GATEWAY,
            "requested_model": "tiny",
            "request_id": "x-1",
            "ttft_seconds": 0.5,
            "replica": "7",
            "operation": Operation.CHAT,
            "outcome": Outcome.OK,
        },
    ),
    "dynamo_unanswered": Example(
        Sent(
            {
                "uri": "/v1/chat/completions",
                "request_id": "8c2f",
                "model": "tiny",
                "request.outcome": "cancelled",
                "input_tokens": 40,
            }
        ),
        {"observed_by": GATEWAY, "requested_model": "tiny", "input_tokens": None, "outcome": Outcome.CANCELLED},
    ),
    "llm_d": Example(
        Sent(
            {
                "target_model": "tiny",
                "request_prio": 0,
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "tiny",
                "gen_ai.request.id": "x-1",
            },
            scope="llm-d-inference-scheduler/epp/extproc",
            kind=SERVER,
        ),
        None,
    ),
    "helicone": Example(Sent({"trace_id": "ab"}), None),
}
