"""Spans of gateways with an instrumentation of their own."""

from __future__ import annotations

from collector.request import Outcome
from collector.span import SpanKind
from tests.collector.dialects.keys import CHAT, GATEWAY, GEN_AI_KEYS, PROVIDER, SERVER, TOKENS, Example
from tests.collector.dialects.sent import Event, Sendable, Sent

LITELLM_V1_KEYS: dict[str, Sendable] = {
    "litellm.call_id": "call-1",
    "llm.request.type": "acompletion",
    "llm.is_streaming": "True",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "tiny",
    "gen_ai.usage.input_tokens": 40,
    "gen_ai.usage.output_tokens": 19,
    "gen_ai.response.finish_reasons": '["stop"]',
    "metadata.user_api_key_team_id": "team-a",
    "hidden_params": '{"api_base": "http://10.0.0.7:8000/v1", "cache_key": null}',
}
GATEWAYS = {
    "litellm_v2": Example(
        Sent(
            {
                **GEN_AI_KEYS,
                "litellm.call_type": "acompletion",
                "litellm.call_id": "call-1",
                "litellm.team.id": "team-a",
                "litellm.end_user.id": "ada",
                "litellm.cost.total": 0.25,
            },
            scope="litellm",
            kind=SpanKind.CLIENT,
        ),
        {**CHAT, "observed_by": GATEWAY, "tenant": "team-a", "request_id": "call-1", "reported_cost_usd": 0.25},
    ),
    "litellm_v1": Example(
        Sent(LITELLM_V1_KEYS, scope="litellm"),
        {
            **TOKENS,
            "observed_by": GATEWAY,
            "tenant": "team-a",
            "stream": True,
            "replica": "10.0.0.7:8000",
            "gateway_cache_hit": False,
        },
    ),
    "litellm_raw": Example(
        Sent(
            {"llm.openai.model": "tiny", "llm.openai.usage": "{'prompt_tokens': 40, 'completion_tokens': 19}"}, scope="litellm"
        ),
        {**TOKENS, "observed_by": GATEWAY, "requested_model": "tiny"},
    ),
    "litellm_proxy": Example(Sent({"error.code": "401"}, scope="litellm", kind=SERVER), None),
    "envoy_ai_openinference": Example(
        Sent(
            {
                "openinference.span.kind": "LLM",
                "llm.system": "openai",
                "llm.model_name": "tiny-2",
                "llm.invocation_parameters": '{"model": "tiny", "stream": true}',
                "llm.token_count.prompt": 40,
                "llm.token_count.prompt_details.cache_read": 7,
                "llm.token_count.completion": 19,
            },
            scope="envoyproxy/ai-gateway",
            events=(Event("First Token Stream Event", 0.5),),
        ),
        {
            **TOKENS,
            "observed_by": GATEWAY,
            "requested_model": "tiny",
            "response_model": "tiny-2",
            "cached_tokens": 7,
            "stream": True,
            "ttft_seconds": 0.5,
            "outcome": Outcome.OK,
        },
    ),
    "envoy_ai_gen_ai": Example(
        Sent({**GEN_AI_KEYS, **PROVIDER, "gen_ai.usage.reasoning.output_tokens": 3}, scope="envoyproxy/ai-gateway"),
        {**CHAT, "observed_by": GATEWAY, "reasoning_tokens": 3},
    ),
    "agentgateway": Example(
        Sent(
            {
                **{key: value for key, value in GEN_AI_KEYS.items() if "finish" not in key},
                **PROVIDER,
                "request.id": "r-1",
                "endpoint": "10.0.0.7:8000",
                "http.method": "POST",
                "http.path": "/v1/chat/completions",
                "http.status": 200,
                "jwt.sub": "ada",
                "agentgateway.group": "team-a",
                "gen_ai.usage.cache_read.input_tokens": 7,
                "gen_ai.usage.reasoning_tokens": 3,
                "agw.ai.time_to_first_token": 0.5,
                "agw.ai.usage.cost.total": "0.25",
                "retry.attempt": 1,
                "reason": "Upstream",
                "duration": "2000ms",
            },
            scope="agentgateway",
            kind=SERVER,
        ),
        {
            **TOKENS,
            "observed_by": GATEWAY,
            "tenant": "team-a",
            "request_id": "r-1",
            "replica": "10.0.0.7:8000",
            "http_status": 200,
            "cached_tokens": 7,
            "reasoning_tokens": 3,
            "ttft_seconds": 0.5,
            "reported_cost_usd": 0.25,
            "retries": 1,
            "outcome": Outcome.OK,
        },
    ),
    "bifrost": Example(
        Sent(
            {
                **PROVIDER,
                "gen_ai.request.model": "tiny",
                "gen_ai.usage.prompt_tokens": 40,
                "gen_ai.usage.completion_tokens": 19,
                "gen_ai.usage.cost": 0.25,
                "gen_ai.virtual_key_id": "vk-1",
                "gen_ai.team_id": "team-a",
                "gen_ai.customer_id": "acme",
                "gen_ai.number_of_retries": 2,
                "gen_ai.fallback_index": 0,
            },
            scope="bifrost-otel-plugin",
            kind=SERVER,
        ),
        {
            **TOKENS,
            "observed_by": GATEWAY,
            "tenant": "team-a",
            "api_key_hash": "vk-1",
            "retries": 2,
            "fallback": False,
            "reported_cost_usd": 0.25,
            "outcome": Outcome.OK,
        },
    ),
}
