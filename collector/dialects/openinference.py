"""OpenInference (Arize Phoenix) instrumentations: token counts beside JSON documents that hold prompt and answer."""

from __future__ import annotations

from collector.dialects.dialect import Dialect, of, one_of
from collector.request import ObservedBy, Operation
from collector.span import Span, StatusCode

_KIND = "openinference.span.kind"
_PARAMETERS = "llm.invocation_parameters"
_EMBEDDING_PARAMETERS = "embedding.invocation_parameters"
_OUTPUT = "output.value"
_COMPLETION = "llm.token_count.completion"


def _was_left(span: Span) -> bool:
    """Whether a stream may have been left: one that was read to its end is OK, and mostly says what it used."""
    is_stream = span.attributes.get(f"{_PARAMETERS}#stream") is True
    return is_stream and span.status is StatusCode.UNSET and _COMPLETION not in span.attributes


OPENINFERENCE = Dialect(
    name="openinference",
    title="OpenInference (Arize Phoenix)",
    # Chains, agents and tools wrap a call and are none themselves.
    marks=(_KIND,),
    recognises=lambda span: span.attributes[_KIND] in ("LLM", "EMBEDDING", "RERANKER"),
    besides="which says LLM, EMBEDDING or RERANKER",
    observed_by=of(ObservedBy.CLIENT),
    operation=Operation.CHAT,
    operations={"EMBEDDING": Operation.EMBEDDING, "RERANKER": Operation.RERANK},
    finish_expected=_was_left,
    fields={
        "operation": one_of(_KIND),
        "end_user": one_of("user.id", f"{_PARAMETERS}#user"),
        "session": one_of("session.id"),
        "provider": one_of("llm.provider", "llm.system"),
        "requested_model": one_of(f"{_PARAMETERS}#model", f"{_EMBEDDING_PARAMETERS}#model", "embedding.model_name"),
        "response_model": one_of("llm.model_name", "embedding.model_name"),
        "response_id": one_of(f"{_OUTPUT}#id"),
        "stream": one_of(f"{_PARAMETERS}#stream"),
        "max_tokens": one_of(f"{_PARAMETERS}#max_tokens", f"{_PARAMETERS}#max_completion_tokens"),
        "choice_count": one_of(f"{_PARAMETERS}#n"),
        "input_tokens": one_of("llm.token_count.prompt"),
        "cached_tokens": one_of("llm.token_count.prompt_details.cache_read"),
        "output_tokens": one_of(_COMPLETION),
        "reasoning_tokens": one_of("llm.token_count.completion_details.reasoning"),
        "finish_reason": one_of("llm.finish_reason", f"{_OUTPUT}#choices.0.finish_reason"),
    },
    documents={
        _PARAMETERS: ("model", "user", "stream", "max_tokens", "max_completion_tokens", "n"),
        _EMBEDDING_PARAMETERS: ("model",),
        _OUTPUT: ("id", "choices.0.finish_reason"),
    },
    first_token_events=frozenset({"First Token Stream Event"}),
    unknown=("tenant", "HTTP status", "the model of a failed call, unless its parameters name it"),
)
