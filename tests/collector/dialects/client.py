"""Spans of client libraries and frameworks."""

from __future__ import annotations

from collector.request import Operation, Outcome, TokenProvenance
from collector.span import SpanKind
from tests.collector.dialects.keys import CHAT, CLIENT, GEN_AI_KEYS, PROVIDER, TOKENS, Example
from tests.collector.dialects.sent import Event, Sendable, Sent

VERCEL_KEYS: dict[str, Sendable] = {
    "ai.operationId": "ai.streamText.doStream",
    "operation.name": "ai.streamText.doStream chat",
    "ai.model.id": "tiny",
    "ai.model.provider": "openai.chat",
    "ai.response.model": "tiny-2",
    "ai.response.id": "chatcmpl-1",
    "ai.response.finishReason": "stop",
    "ai.response.msToFirstChunk": 500.0,
    "ai.response.msToFinish": 2000.0,
    "ai.usage.inputTokens": 40,
    "ai.usage.outputTokens": 19,
    "ai.usage.cachedInputTokens": 7,
    "gen_ai.system": "openai.chat",
    "gen_ai.request.model": "tiny",
    "gen_ai.usage.input_tokens": 40,
    "gen_ai.usage.output_tokens": 19,
}
CLIENTS = {
    "gen_ai_openai": Example(
        Sent({**GEN_AI_KEYS, **PROVIDER}, scope="opentelemetry.instrumentation.genai.openai", kind=SpanKind.CLIENT),
        {**CHAT, "observed_by": CLIENT},
    ),
    "openllmetry": Example(
        Sent({**GEN_AI_KEYS, **PROVIDER}, scope="opentelemetry.instrumentation.openai.v1", kind=SpanKind.CLIENT),
        {**CHAT, "observed_by": CLIENT},
    ),
    "langchain": Example(
        Sent(
            {**GEN_AI_KEYS, **PROVIDER, "gen_ai.usage.total_tokens": 59, "gen_ai.usage.cache_read.input_tokens": 7},
            scope="opentelemetry.instrumentation.langchain",
            kind=SpanKind.CLIENT,
        ),
        {**CHAT, "observed_by": CLIENT, "cached_tokens": 7},
    ),
    "langchain_step": Example(
        Sent(
            {"traceloop.span.kind": "workflow", "traceloop.workflow.name": "w", "gen_ai.operation.name": "invoke_agent"},
            scope="opentelemetry.instrumentation.langchain",
        ),
        None,
    ),
    "openlit": Example(
        Sent(
            {**GEN_AI_KEYS, **PROVIDER, "gen_ai.request.stream": True},
            scope="openlit.instrumentation.openai",
            kind=SpanKind.CLIENT,
        ),
        {**CHAT, "observed_by": CLIENT, "token_provenance": TokenProvenance.ESTIMATED},
    ),
    "langfuse": Example(
        Sent(
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.model.name": "tiny-2",
                "langfuse.observation.model.parameters": '{"temperature": 1, "max_tokens": "inf"}',
                "langfuse.observation.usage_details": (
                    '{"prompt_tokens": 40, "completion_tokens": 19, "total_tokens": 59,'
                    ' "prompt_tokens_details": {"cached_tokens": 7}, "completion_tokens_details": {"reasoning_tokens": 3}}'
                ),
                "langfuse.observation.cost_details": '{"total": 0.25}',
                "langfuse.observation.completion_start_time": '"2026-11-24T11:59:00.500000Z"',
                "langfuse.observation.metadata.finish_reason": '"stop"',
                "langfuse.observation.level": "DEFAULT",
            },
            scope="langfuse-sdk",
        ),
        {
            **TOKENS,
            "observed_by": CLIENT,
            "requested_model": None,
            "response_model": "tiny-2",
            "cached_tokens": 7,
            "reasoning_tokens": 3,
            "max_tokens": None,
            "stream": True,
            "ttft_seconds": 0.5,
            "finish_reason": "stop",
            "reported_cost_usd": 0.25,
            "outcome": Outcome.OK,
        },
    ),
    "logfire": Example(
        Sent(
            {
                **{key: value for key, value in GEN_AI_KEYS.items() if "finish" not in key},
                **PROVIDER,
                "gen_ai.system": "openai",
                "gen_ai.response.finish_reasons": '["stop"]',
                "duration": 1.5,
                "request_data": '{"messages": [{"content": "secret-prompt-text"}]}',
            },
            scope="logfire.openai",
            seconds=0.0,
        ),
        {**CHAT, "observed_by": CLIENT, "stream": True, "latency_seconds": 1.5},
    ),
    "logfire_started": Example(
        Sent(
            {"gen_ai.request.model": "tiny", "gen_ai.system": "openai", "gen_ai.operation.name": "chat"}, scope="logfire.openai"
        ),
        None,
    ),
    "langsmith": Example(
        Sent(
            {
                **GEN_AI_KEYS,
                "langsmith.span.kind": "llm",
                "langsmith.trace.name": "ChatOpenAI",
                "langsmith.request.streaming": "true",
                "gen_ai.system": "openai",
                "gen_ai.usage.total_tokens": 59,
                "gen_ai.usage.input_token_details": '{"cache_read": 7}',
                "gen_ai.usage.output_token_details": '{"reasoning": 3}',
                "gen_ai.prompt": "secret-prompt-text",
            },
            scope="langsmith",
        ),
        {**CHAT, "observed_by": CLIENT, "cached_tokens": 7, "reasoning_tokens": 3, "stream": True},
    ),
    "langsmith_run": Example(
        Sent({**GEN_AI_KEYS, "langsmith.span.kind": "chain", "gen_ai.system": "openai"}, scope="langsmith"), None
    ),
    "vercel_legacy": Example(
        Sent(VERCEL_KEYS, scope="ai"),
        {
            **CHAT,
            "observed_by": CLIENT,
            "provider": "openai.chat",
            "cached_tokens": 7,
            "stream": True,
            "ttft_seconds": 0.5,
        },
    ),
    "vercel_embedding": Example(
        Sent({"ai.operationId": "ai.embed.doEmbed", "ai.model.id": "tiny", "ai.usage.tokens": 40}, scope="ai"),
        {"observed_by": CLIENT, "input_tokens": 40, "operation": Operation.EMBEDDING, "outcome": Outcome.OK},
    ),
    "vercel_outer": Example(
        Sent({"ai.operationId": "ai.streamText", "ai.usage.inputTokens": 40, "ai.usage.outputTokens": 19}, scope="ai"), None
    ),
    "vercel": Example(
        Sent(
            {
                **GEN_AI_KEYS,
                **PROVIDER,
                "gen_ai.agent.name": "answer",
                "gen_ai.client.operation.time_to_first_chunk": 0.5,
                "gen_ai.client.operation.duration": 1.5,
            },
            scope="gen_ai",
            kind=SpanKind.CLIENT,
        ),
        {**CHAT, "observed_by": CLIENT, "ttft_seconds": 0.5, "latency_seconds": 1.5},
    ),
    "vercel_step": Example(Sent({**GEN_AI_KEYS, **PROVIDER}, scope="gen_ai"), None),
    "spring_ai": Example(
        Sent(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.system": "openai",
                "gen_ai.request.model": "tiny",
                "gen_ai.request.max_tokens": "none",
                "gen_ai.request.stream": "true",
                "gen_ai.response.model": "none",
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.finish_reasons": '["STOP"]',
                "gen_ai.usage.input_tokens": "40",
                "gen_ai.usage.output_tokens": "19",
                "gen_ai.usage.cache_read.input_tokens": "7",
                "gen_ai.usage.total_tokens": "59",
            },
            scope="org.springframework.boot",
            kind=SpanKind.CLIENT,
        ),
        {
            **TOKENS,
            "observed_by": CLIENT,
            "requested_model": "tiny",
            "response_model": None,
            "max_tokens": None,
            "stream": True,
            "cached_tokens": 7,
            "finish_reason": "stop",
            "outcome": Outcome.OK,
        },
    ),
    "spring_ai_client": Example(
        Sent(
            {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai", "spring.ai.kind": "chat_client"},
            scope="org.springframework.boot",
        ),
        None,
    ),
    "mlflow": Example(
        Sent(
            {
                "mlflow.spanType": '"CHAT_MODEL"',
                "mlflow.traceRequestId": '"tr-1"',
                "mlflow.llm.model": '"tiny"',
                "mlflow.llm.provider": '"openai"',
                "mlflow.chat.tokenUsage": '{"input_tokens": 40, "output_tokens": 19, "cache_read_input_tokens": 7}',
                "mlflow.llm.cost": '{"input_cost": 0.1, "output_cost": 0.15, "total_cost": 0.25}',
            },
            scope="openai.resources.chat",
            events=(Event("mlflow.chunk.item.0", 0.5), Event("mlflow.chunk.item.1", 0.7)),
        ),
        {
            **TOKENS,
            "observed_by": CLIENT,
            "requested_model": "tiny",
            "provider": "openai",
            "request_id": "tr-1",
            "cached_tokens": 7,
            "ttft_seconds": 0.5,
            "reported_cost_usd": 0.25,
            "outcome": Outcome.OK,
        },
    ),
    "pydantic_ai": Example(
        Sent(
            {
                **GEN_AI_KEYS,
                **PROVIDER,
                "gen_ai.system": "openai",
                "gen_ai.usage.cache_read.input_tokens": 7,
                "gen_ai.usage.details.cache_read_tokens": 7,
                "gen_ai.usage.details.reasoning_tokens": 3,
                "operation.cost": 0.25,
                "model_request_parameters": '{"output_mode": "text"}',
            },
            scope="pydantic-ai",
        ),
        {**CHAT, "observed_by": CLIENT, "cached_tokens": 7, "reasoning_tokens": 3, "reported_cost_usd": 0.25},
    ),
    "pydantic_ai_agent": Example(
        Sent({**GEN_AI_KEYS, "gen_ai.operation.name": "invoke_agent", "gen_ai.system": "openai"}, scope="pydantic-ai"), None
    ),
    "openinference": Example(
        Sent(
            {
                "openinference.span.kind": "LLM",
                "llm.model_name": "tiny-2",
                "llm.token_count.prompt": 40,
                "llm.token_count.completion": 19,
                "llm.invocation_parameters": '{"model": "tiny", "stream": false}',
                "output.value": '{"id": "chatcmpl-1", "choices": [{"finish_reason": "stop", "message": "secret-prompt-text"}]}',
            },
            scope="openinference.instrumentation.openai",
        ),
        {**CHAT, "observed_by": CLIENT, "stream": False},
    ),
}
