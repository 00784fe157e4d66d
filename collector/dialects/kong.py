"""Kong's AI gateway: a ``kong.gen_ai`` span beside those of router and balancer, inside the span of the HTTP request."""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, Role, never, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.dialects.http_server import PATH_KEYS, is_llm_path
from collector.request import ObservedBy
from collector.span import Span

_SCOPE = "kong-internal"


def _names_model(span: Span) -> bool:
    return "gen_ai.request.model" in span.attributes or "gen_ai.response.model" in span.attributes


KONG = replace(
    GEN_AI,
    name="kong",
    title="Kong AI gateway",
    scopes=(_SCOPE,),
    marks=(),
    recognises=_names_model,
    besides="`gen_ai.request.model` or `gen_ai.response.model`",
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    finish_expected=never,
    unknown=("tenant and consumer", "cached tokens", "TTFT", "cost", "a failure, other than by the HTTP status around it"),
)

KONG_PROXY = Dialect(
    name="kong_proxy",
    title="Kong AI gateway, the HTTP request around a call",
    marks=("kong.request.id",),
    besides="alone only on a path of an LLM API; around a call on any",
    observed_by=of(ObservedBy.GATEWAY),
    role=Role.ENVELOPE,
    # Its routes have any path: what is inside says whether a model was called.
    stands_alone=is_llm_path,
    fields={
        "request_id": one_of("kong.request.id"),
        "http_status": one_of("http.status_code", "http.response.status_code"),
        "path": one_of(*PATH_KEYS),
    },
)
