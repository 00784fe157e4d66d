"""Any HTTP server span on a path of an LLM API: FastAPI, Envoy, Istio, Linkerd, Traefik … in old and new semantic conventions.

It knows the status and the duration as the caller saw them and nothing of tokens. It becomes a row only where no span says
more of the same call.
"""

from __future__ import annotations

import re

from collector.dialects.dialect import Dialect, Role, of, one_of
from collector.request import ObservedBy, Operation
from collector.span import Span, SpanKind

PATH_KEYS = ("url.path", "http.target", "http.path", "url.full", "http.url", "http.route", "uri")
"""Where an HTTP path is found, whole URLs among them."""
_PATH = re.compile(
    r"(?:/v\d+(?:beta\d*)?/|/openai/|/api/|^/|/deployments/[^/]{1,100}/|/engines/[^/]{1,100}/)"
    r"(?:chat/completions|completions|responses|messages|embeddings|embed|rerank|score|generate(?:_stream)?|chat|inference|"
    r"images/(?:generations|edits)|audio/(?:transcriptions|translations|speech))/?(?:[?#].*)?$"
    r"|:(?:stream)?[gG]enerateContent(?:[?#].*)?$"
)
_SCHEME = re.compile(r"^[a-z]+://[^/]*")


def is_llm_path(span: Span) -> bool:
    """Whether an HTTP span is of a call of a model, by its path."""
    for key in PATH_KEYS:
        value = span.attributes.get(key)
        if isinstance(value, str) and value:
            return _PATH.search(_SCHEME.sub("", value)) is not None
    return False


_OPERATIONS = (
    (Operation.EMBEDDING, re.compile(r"/embed")),
    (Operation.RERANK, re.compile(r"/(?:rerank|score)")),
    (Operation.IMAGE, re.compile(r"/images/")),
    (Operation.AUDIO, re.compile(r"/audio/")),
    (Operation.CHAT, re.compile(r"/(?:chat|responses|messages)|[gG]enerateContent")),
    (Operation.COMPLETION, re.compile(r"/(?:completions|generate|inference)")),
)


def operation_of(path: str) -> Operation | None:
    """What an HTTP path of an LLM API asks for."""
    return next((operation for operation, expression in _OPERATIONS if expression.search(path)), None)


def _recognises(span: Span) -> bool:
    return span.kind is SpanKind.SERVER and is_llm_path(span)


HTTP_SERVER = Dialect(
    name="http_server",
    title="HTTP server spans (FastAPI, Envoy, Istio, Linkerd, Traefik …)",
    marks=PATH_KEYS,
    recognises=_recognises,
    besides="kind SERVER, and a path of an LLM API",
    observed_by=of(ObservedBy.GATEWAY),
    role=Role.ENVELOPE,
    fields={
        "http_status": one_of("http.response.status_code", "http.status_code"),
        "request_id": one_of("guid:x-request-id", "http.request.header.x-request-id", "kong.request.id"),
        "requested_model": one_of("gen_ai.request.model"),
        "tenant": one_of("litellm.team.id", "metadata.user_api_key_team_id"),
        "api_key_hash": one_of("litellm.api_key.hash", "metadata.user_api_key_hash"),
        "path": one_of(*PATH_KEYS),
    },
    error_texts=frozenset({"error.message"}),
    unknown=("tokens", "TTFT", "finish reason", "model, unless an attribute names it"),
)
