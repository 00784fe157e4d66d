"""sglang-router and its successor smg: one HTTP span per request, with status and worker, without tokens.

``latency`` is the time to the response's headers in microseconds, so neither the call's duration nor its TTFT. The span's
status stays UNSET on 4xx and 5xx: the code tells.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, of, one_of
from collector.dialects.http_server import is_llm_path
from collector.request import ObservedBy

SMG = Dialect(
    name="smg",
    title="sglang-router, smg",
    marks=("module",),
    recognises=lambda span: "status_code" in span.attributes and is_llm_path(span),
    besides="`status_code`, and a path of an LLM API",
    observed_by=of(ObservedBy.GATEWAY),
    fields={
        "request_id": one_of("request_id"),
        "http_status": one_of("status_code"),
    },
    event_fields={"server_url": one_of("url")},
    unknown=("tokens", "TTFT", "model", "tenant", "finish reason", "a client that left: it says 200"),
)
