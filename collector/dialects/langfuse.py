"""Langfuse's SDK: generations with usage as JSON, times as quoted text, and a level in place of a status.

A stream that broke off in the middle is UNSET, without level and without finish reason.
"""

from __future__ import annotations

from collector.dialects.dialect import Dialect, of, one_of
from collector.request import ObservedBy, Operation, Outcome
from collector.span import Span

_TYPE = "langfuse.observation.type"
_USAGE = "langfuse.observation.usage_details"
_PARAMETERS = "langfuse.observation.model.parameters"
_COST = "langfuse.observation.cost_details"
_FIRST_TOKEN = "langfuse.observation.completion_start_time"
_LEVEL = "langfuse.observation.level"
_INPUT = ("input", "prompt_tokens", "input_tokens")
_OUTPUT = ("output", "completion_tokens", "output_tokens")
_CACHED = (
    *("input_cached_tokens", "input_cache_read", "cache_read_input_tokens"),
    *("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens"),
)
_REASONING = (
    *("output_reasoning_tokens", "output_reasoning"),
    *("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
)


_SAYS_USAGE = tuple(f"{_USAGE}#{path}" for path in (*_INPUT, *_OUTPUT))


def _is_stream(span: Span) -> bool | None:
    return True if _FIRST_TOKEN in span.attributes else None


def _may_have_broken_off(span: Span) -> bool:
    """What a stream used comes at its end; the first versions never say why it ended."""
    return _FIRST_TOKEN in span.attributes and not any(key in span.attributes for key in _SAYS_USAGE)


LANGFUSE = Dialect(
    name="langfuse",
    title="Langfuse SDK",
    marks=(_TYPE,),
    recognises=lambda span: str(span.attributes[_TYPE]).strip('"') in ("generation", "embedding"),
    besides="which says generation or embedding",
    observed_by=of(ObservedBy.CLIENT),
    operation=Operation.CHAT,
    streams=_is_stream,
    finish_expected=_may_have_broken_off,
    fields={
        "operation": one_of(_TYPE),
        "response_id": one_of("langfuse.observation.metadata.id"),
        "end_user": one_of("user.id", "langfuse.user.id"),
        "session": one_of("session.id", "langfuse.session.id"),
        "response_model": one_of("langfuse.observation.model.name"),
        "max_tokens": one_of(f"{_PARAMETERS}#max_tokens", f"{_PARAMETERS}#max_completion_tokens"),
        "input_tokens": one_of(*(f"{_USAGE}#{path}" for path in _INPUT)),
        "cached_tokens": one_of(*(f"{_USAGE}#{path}" for path in _CACHED)),
        "output_tokens": one_of(*(f"{_USAGE}#{path}" for path in _OUTPUT)),
        "reasoning_tokens": one_of(*(f"{_USAGE}#{path}" for path in _REASONING)),
        "finish_reason": one_of("langfuse.observation.metadata.finish_reason"),
        "reported_cost_usd": one_of(f"{_COST}#total"),
    },
    documents={
        _USAGE: (*_INPUT, *_CACHED, *_OUTPUT, *_REASONING),
        _PARAMETERS: ("max_tokens", "max_completion_tokens"),
        _COST: ("total",),
    },
    first_token_times=(_FIRST_TOKEN,),
    words={_LEVEL: {"ERROR": Outcome.SERVER_ERROR}},
    error_texts=frozenset({"langfuse.observation.status_message"}),
    unknown=("tenant", "requested model", "provider", "HTTP status", "finish reason of a plain call"),
)
