"""TensorZero: a span for each attempt at a provider, below variant, function and HTTP request.

Tokens are those of all attempts; the last one that went well is the answer. The span of the function, above them, names tags
and episode. An answer from its cache has no attempt: the HTTP request alone tells of it.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, Role, of, one_of
from collector.request import ObservedBy, Operation

_SCOPE = "tensorzero"

TENSORZERO = Dialect(
    name="tensorzero",
    title="TensorZero",
    scopes=(_SCOPE,),
    recognises=lambda span: "provider_name" in span.attributes,
    besides="`provider_name`",
    observed_by=of(ObservedBy.GATEWAY),
    enclosed=True,
    operation=Operation.CHAT,
    fields={
        "operation": one_of("gen_ai.operation.name"),
        "provider": one_of("gen_ai.system", "llm.system", "provider_name"),
        "requested_model": one_of("gen_ai.request.model", "llm.model_name"),
        "stream": one_of("stream"),
        "input_tokens": one_of("gen_ai.usage.input_tokens", "llm.token_count.prompt"),
        "output_tokens": one_of("gen_ai.usage.output_tokens", "llm.token_count.completion"),
        "reported_cost_usd": one_of("tensorzero.cost_usd"),
    },
    fingerprint=("provider_name",),
    unknown=("cached tokens", "TTFT", "finish reason", "an answer from its own cache: a request without tokens"),
)

TENSORZERO_FUNCTION = Dialect(
    name="tensorzero_function",
    title="TensorZero, what was asked for",
    scopes=(_SCOPE,),
    recognises=lambda span: "inference_id" in span.attributes or "episode_id" in span.attributes,
    besides="`inference_id` or `episode_id`",
    observed_by=of(ObservedBy.GATEWAY),
    role=Role.PART,
    fields={
        "request_id": one_of("inference_id"),
        "session": one_of("episode_id"),
        "tenant": one_of("tags.tenant", "tags.tenant_id", "tags.team", "tags.team_id"),
        "end_user": one_of("tags.user", "tags.user_id"),
    },
)
