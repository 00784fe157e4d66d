"""logfire's instrumentation of LLM clients: a stream gives two spans, possibly in two traces.

The first one has no tokens and ends when the stream begins; the second one is 0 ms long and holds tokens and ``duration``. Only
the one that says how it went is the call. Versions before 4.21 say less in GenAI's names, and the rest in JSON with the answer.
"""

from __future__ import annotations

from dataclasses import replace

from collector.dialects.dialect import Dialect, Role, Source, of, one_of
from collector.dialects.gen_ai import GEN_AI
from collector.request import ObservedBy, Operation
from collector.span import Span, StatusCode

_SCOPES = ("logfire.*",)
_REQUEST = "request_data"
_USAGE_ASKED = f"{_REQUEST}#stream_options.include_usage"
_RAW = "gen_ai.usage.raw"
_RESPONSE = "response_data"
_USAGE = {
    "input_tokens": ("prompt_tokens", "input_tokens"),
    "output_tokens": ("completion_tokens", "output_tokens"),
    "cached_tokens": ("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens"),
    "reasoning_tokens": ("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
}
_USAGE_PATHS = tuple(path for paths in _USAGE.values() for path in paths)


def _usage(field: str) -> tuple[Source, ...]:
    """Where a count stands: by its name, else in the usage as the provider sent it."""
    paths = _USAGE[field]
    raw = (f"{_RAW}#{path}" for path in paths)
    return GEN_AI.fields[field] + one_of(*raw, *(f"{_RESPONSE}#usage.{path}" for path in paths))


_OUTPUT_TOKENS = frozenset(source.key for source in _usage("output_tokens"))
_ANSWERED = _OUTPUT_TOKENS | {"gen_ai.response.id"}
_TELLING = _ANSWERED | {"gen_ai.usage.input_tokens", "gen_ai.response.finish_reasons", "duration", "error.type"}


def _says_how_it_went(span: Span) -> bool:
    return "gen_ai.request.model" in span.attributes and (
        span.status is StatusCode.ERROR
        or not _TELLING.isdisjoint(span.attributes)
        or any(event.name == "exception" for event in span.events)
        or _says_nothing(span)
    )


def _says_nothing(span: Span) -> bool:
    """Of the older generation: an answer without usage, or a stream of the Responses API, of which no second span tells."""
    attributes = span.attributes
    if "gen_ai.operation.name" in attributes:
        return False
    return "gen_ai.system" in attributes or f"{_REQUEST}#model" not in attributes


def _is_stream(span: Span) -> bool | None:
    if "duration" in span.attributes:
        return True
    return None if _ANSWERED.isdisjoint(span.attributes) else False


def _may_have_broken_off(span: Span) -> bool:
    """What a stream used comes at its end, and why it ended is said since 5, which names the answer too."""
    attributes = span.attributes
    if "duration" not in attributes:
        return _says_nothing(span) and "gen_ai.system" not in attributes
    says_why = attributes.get("gen_ai.operation.name") == "chat" and "gen_ai.response.id" in attributes
    return (says_why or attributes.get(_USAGE_ASKED) is True) and _OUTPUT_TOKENS.isdisjoint(attributes)


LOGFIRE = replace(
    GEN_AI,
    name="logfire",
    title="logfire's instrumentations of LLM clients",
    scopes=_SCOPES,
    marks=(),
    recognises=_says_how_it_went,
    besides="tokens, a finish reason, a duration or a failure",
    observed_by=of(ObservedBy.CLIENT),
    operation=Operation.CHAT,
    streams=_is_stream,
    finish_expected=_may_have_broken_off,
    fields={
        **GEN_AI.fields,
        **{field: _usage(field) for field in _USAGE},
        "stream": one_of("gen_ai.request.stream", f"{_REQUEST}#stream"),
        "max_tokens": one_of("gen_ai.request.max_tokens", f"{_REQUEST}#max_tokens"),
        "end_user": one_of("enduser.id", "user.id", f"{_REQUEST}#user"),
        "latency_seconds": one_of("duration"),
    },
    documents={
        _REQUEST: ("model", "stream", "stream_options.include_usage", "max_tokens", "user"),
        _RAW: _USAGE_PATHS,
        _RESPONSE: tuple(f"usage.{path}" for path in _USAGE_PATHS),
    },
    unknown=("tenant", "HTTP status", "TTFT", "a stream that broke off, before 5 and unless its usage was asked for"),
)

LOGFIRE_STARTED = Dialect(
    name="logfire_started",
    title="logfire's instrumentations of LLM clients, the beginning of a stream",
    scopes=_SCOPES,
    recognises=lambda span: "gen_ai.request.model" in span.attributes,
    besides="`gen_ai.request.model`",
    observed_by=of(ObservedBy.CLIENT),
    role=Role.NOTHING,
)
