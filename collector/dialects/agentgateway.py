"""agentgateway: one SERVER span per HTTP request, GenAI names on those that reached a model, and names of its own."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import never, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.dialects.http_server import PATH_KEYS, is_llm_path
from collector.request import ObservedBy
from collector.span import Span


def _recognises(span: Span) -> bool:
    return "gen_ai.request.model" in span.attributes or ("http.status" in span.attributes and is_llm_path(span))


AGENTGATEWAY = replace(
    GEN_AI,
    name="agentgateway",
    title="agentgateway",
    scopes=("agentgateway",),
    marks=("agw.ai.time_to_first_token", "agw.ai.usage.cost.total", "agentgateway.user", "agentgateway.group"),
    recognises=_recognises,
    besides="`gen_ai.request.model`, or `http.status` on a path of an LLM API",
    observed_by=of(ObservedBy.GATEWAY),
    finish_expected=never,
    fields={
        **GEN_AI.fields,
        "tenant": one_of("agentgateway.group", "jwt.sub"),
        "end_user": one_of("agentgateway.user", "jwt.sub"),
        "request_id": one_of("request.id"),
        "ttft_seconds": one_of("agw.ai.time_to_first_token"),
        "reported_cost_usd": one_of("agw.ai.usage.cost.total"),
        "server_address": one_of("inferencepool.selected_endpoint", "endpoint", "server.address"),
        "retries": one_of("retry.attempt"),
        "http_status": one_of("http.status", "http.response.status_code"),
        "path": one_of(*PATH_KEYS),
    },
    error_texts=frozenset({"error", "error.message"}),
    unknown=("queue time", "finish reason"),
)
