"""One span, read by its dialect: how that attempt at a request ended, with which tokens, after which time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from collector.dialects import Dialect, Role, located
from collector.error_sign import ErrorSign
from collector.field import Malformed, Reader
from collector.outcome import Ending, decide
from collector.request import Outcome, RejectReason, TokenProvenance
from collector.span import Attributes, Span, SpanEvent

_EXCEPTION = "exception"


class Attempt(NamedTuple):
    """What one span says. Durations in seconds, counts in tokens, ``None`` for what it does not say."""

    span: Span
    dialect: Dialect
    read: Reader
    outcome: Outcome
    error_types: tuple[str, ...]
    signs: tuple[ErrorSign, ...]
    http_status: int | None
    finish_reason: str | None
    requested_model: str | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    ttft_seconds: float | None

    @property
    def explains(self) -> bool:
        """Whether it is a part that says why its call failed. An ERROR without a reason may stand for nothing."""
        failed = self.error_types or (self.http_status or 0) >= 400 or self.finish_reason == "abort"
        return self.dialect.explains and bool(failed)

    @property
    def provenance(self) -> TokenProvenance:
        """Where its counts come from."""
        if self.input_tokens is None and self.output_tokens is None:
            return TokenProvenance.UNKNOWN
        return TokenProvenance.ESTIMATED if self.dialect.estimates(self.span) else self.dialect.provenance


def read_attempt(span: Span, dialect: Dialect) -> Attempt:
    """Read a span.

    :raises Malformed: for a value that no row can be made of
    """
    attributes = _with_events(span, dialect)
    read = Reader(attributes, located(dialect, frozenset(attributes)), dialect.absent)
    finish_reason = (read.first("finish_reason") or "").lower() or None
    http_status = read.parameter("http_status", 999) or None
    error_types = tuple(_error_types(attributes, span.events, dialect))
    signs = tuple(sign for sign in (span.error_sign, *(event.error_sign for event in span.events)) if sign is not None)
    finish_expected = dialect.role is Role.CALL and dialect.finish_expected(span)
    stated = dialect.stated_outcome(attributes)
    outcome = decide(Ending(span.status, error_types, signs, http_status, finish_reason, finish_expected, stated))
    input_tokens, cached_tokens, output_tokens, reasoning_tokens = _tokens(read, outcome)
    return Attempt(
        span=span,
        dialect=dialect,
        read=read,
        outcome=outcome,
        error_types=error_types,
        signs=signs,
        http_status=http_status,
        finish_reason=finish_reason,
        requested_model=read.text("requested_model"),
        input_tokens=input_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=reasoning_tokens,
        ttft_seconds=_ttft(read, span, dialect),
    )


def _with_events(span: Span, dialect: Dialect) -> Attributes:
    """The span's attributes, and those of its events that the dialect reads as fields of the span."""
    if not dialect.event_fields or not span.events:
        return span.attributes
    merged = dict(span.attributes)
    for event in span.events:
        merged.update({key: value for key, value in event.attributes.items() if key in dialect.event_keys})
    return merged


def _tokens(read: Reader, outcome: Outcome) -> tuple[int | None, int | None, int | None, int | None]:
    """Input, cached, output and reasoning tokens. Zero on a failure is what a producer writes that does not know."""
    input_tokens, cached_tokens = read.tokens("input_tokens"), read.tokens("cached_tokens")
    output_tokens, reasoning_tokens = read.tokens("output_tokens"), read.tokens("reasoning_tokens")
    if outcome is not Outcome.OK and not any((input_tokens, cached_tokens, output_tokens)):
        return None, None, None, None
    # A part larger than its whole would make a hit rate above 1: the part is not known.
    if cached_tokens is not None and (input_tokens is None or cached_tokens > input_tokens):
        cached_tokens = None
    return input_tokens, cached_tokens, output_tokens, reasoning_tokens


def _ttft(read: Reader, span: Span, dialect: Dialect) -> float | None:
    """Time to first token [s]: as stated, or from the event or the time that marks the first token."""
    stated = read.seconds("ttft_seconds")
    if stated is not None:
        return stated
    for event in span.events:
        if event.name in dialect.first_token_events:
            return _since_start(span, event)
    for key in dialect.first_token_times:
        value = span.attributes.get(key)
        if isinstance(value, str) and value:
            return _until(span, key, value)
    return None


def _since_start(span: Span, event: SpanEvent) -> float | None:
    return (event.time_ns - span.start_ns) / 1e9 if span.start_ns <= event.time_ns <= span.end_ns else None


def _until(span: Span, key: str, text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text.strip('"'))
    except ValueError:
        raise Malformed(RejectReason.WRONG_TYPE, key, text, "a time, ISO 8601") from None
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - span.start_ns / 1e9
    return seconds if 0 <= seconds <= (span.end_ns - span.start_ns) / 1e9 else None


def _error_types(attributes: Attributes, events: Iterable[SpanEvent], dialect: Dialect) -> Iterable[str]:
    """Error classes: from attributes, then from exception events."""
    values = [attributes.get(key) for key in dialect.error_types]
    values += [event.attributes.get("exception.type") for event in events if event.name == _EXCEPTION]
    found = (value for value in values if isinstance(value, str | int) and not isinstance(value, bool))
    return (str(value) for value in found if value not in dialect.absent)
