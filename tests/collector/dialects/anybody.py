"""Spans of whoever follows a convention, and of plain HTTP."""

from __future__ import annotations

from collector.request import Operation, Outcome
from tests.collector.dialects.keys import CHAT, GATEWAY, GEN_AI_KEYS, PROVIDER, SERVER, TOKENS, Example
from tests.collector.dialects.sent import Event, Sendable, Sent

HTTP_NEW: dict[str, Sendable] = {
    "http.request.method": "POST",
    "url.path": "/v1/chat/completions",
    "http.response.status_code": 200,
}
ENVOY_KEYS: dict[str, Sendable] = {
    "node_id": "sidecar~10.0.0.1",
    "component": "proxy",
    "guid:x-request-id": "f7a1",
    "http.url": "http://gateway.example/v1/chat/completions",
    "http.method": "POST",
    "http.status_code": "200",
    "request_size": "120",
    "response_size": "900",
    "response_flags": "-",
    "upstream_cluster.name": "vllm",
    "upstream_address": "10.0.0.7:8000",
}


REST = {
    "gen_ai": Example(Sent({**GEN_AI_KEYS, **PROVIDER}, scope="my.gateway", kind=SERVER), {**CHAT, "observed_by": GATEWAY}),
    "llm_attributes": Example(
        Sent({"llm.model": "tiny", "llm.input_tokens": 40, "llm.output_tokens": 19, "llm.ttft_ms": 500}, scope="my.gateway"),
        {**TOKENS, "observed_by": GATEWAY, "requested_model": "tiny", "ttft_seconds": 0.5, "outcome": Outcome.OK},
    ),
    "smg": Example(
        Sent(
            {
                "module": "smg",
                "method": "POST",
                "uri": "/v1/chat/completions",
                "request_id": "req-1",
                "status_code": 429,
                "latency": 1500,
            },
            scope="smg",
            events=(Event("Sending request", 0.1, {"url": "http://10.0.0.7:8000/v1/chat/completions"}),),
        ),
        {
            "observed_by": GATEWAY,
            "request_id": "req-1",
            "replica": "10.0.0.7:8000",
            "http_status": 429,
            "latency_seconds": 2.0,
            "ttft_seconds": None,
            "outcome": Outcome.RATE_LIMIT,
        },
    ),
    "envoy": Example(
        Sent(ENVOY_KEYS, kind=SERVER),
        {
            "observed_by": GATEWAY,
            "request_id": "f7a1",
            "replica": "10.0.0.7:8000",
            "http_status": 200,
            "operation": Operation.CHAT,
            "input_tokens": None,
            "outcome": Outcome.OK,
        },
    ),
    "http_server": Example(
        Sent(
            {**HTTP_NEW, "entry_point": "web", "server.address": "llm.example"}, scope="github.com/traefik/traefik", kind=SERVER
        ),
        {"observed_by": GATEWAY, "http_status": 200, "operation": Operation.CHAT, "outcome": Outcome.OK},
    ),
}
