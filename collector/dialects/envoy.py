"""Envoy and Istio: HTTP spans whose every value is text, with flags that tell what failed.

The sidecars of caller and callee write a span each, of kinds CLIENT and SERVER, with one id of the request.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, Role, of, one_of
from collector.dialects.http_server import PATH_KEYS, is_llm_path
from collector.request import ObservedBy, Outcome

ENVOY = Dialect(
    name="envoy",
    title="Envoy, Istio",
    marks=("response_flags", "upstream_cluster.name", "upstream_cluster"),
    recognises=is_llm_path,
    besides="a path of an LLM API",
    observed_by=of(ObservedBy.GATEWAY),
    role=Role.ENVELOPE,
    fields={
        "request_id": one_of("guid:x-request-id"),
        "http_status": one_of("http.status_code", "http.response.status_code"),
        "requested_model": one_of("gen_ai.request.model"),
        "server_address": one_of("upstream_address"),
        "path": one_of(*PATH_KEYS),
    },
    # https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage: short names of the flags.
    words={
        "response_flags": {
            "DC": Outcome.CANCELLED,
            "DR": Outcome.CANCELLED,
            "UT": Outcome.TIMEOUT,
            "SI": Outcome.TIMEOUT,
            "DT": Outcome.TIMEOUT,
            "UMSDR": Outcome.TIMEOUT,
            "RL": Outcome.RATE_LIMIT,
            "UAEX": Outcome.AUTH,
            "UO": Outcome.OVERLOAD,
            "OM": Outcome.OVERLOAD,
            "DO": Outcome.OVERLOAD,
            "UF": Outcome.UNAVAILABLE,
            "UH": Outcome.UNAVAILABLE,
            "UC": Outcome.UNAVAILABLE,
            "UR": Outcome.UNAVAILABLE,
            "LR": Outcome.UNAVAILABLE,
            "LH": Outcome.UNAVAILABLE,
            "NC": Outcome.UNAVAILABLE,
            "URX": Outcome.UNAVAILABLE,
            "UPE": Outcome.UNAVAILABLE,
            "DPE": Outcome.VALIDATION,
            "IH": Outcome.VALIDATION,
            "NR": Outcome.VALIDATION,
        }
    },
    unknown=("tokens", "TTFT", "finish reason", "model and tenant, unless a custom tag names them"),
)
