"""The course of one request over its attempts: how it ended, what it used, when its caller saw the first token. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from collector.attempt import Attempt
from collector.outcome import bare_class
from collector.request import UNKNOWN_TENANT, Operation, Outcome, Request, TokenProvenance
from collector.span import SpanKind

_GONE = frozenset({"ConnectionError", "ConnectionResetError", "BrokenPipeError", "ClientDisconnect", "ClientDisconnected"})
"""Errors of a server whose caller has left."""
_WELL = (Outcome.OK, Outcome.UNKNOWN)


class Usage(NamedTuple):
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    token_provenance: TokenProvenance


def usage_of(deciding: Attempt, earlier: Sequence[Attempt], parts: Sequence[Attempt]) -> Usage:
    """What all attempts used; what a part states of the same attempt fills in and is never added."""
    if not earlier and not parts:
        tokens = (deciding.input_tokens, deciding.cached_tokens, deciding.output_tokens, deciding.reasoning_tokens)
        return Usage(*tokens, deciding.provenance)
    counts = []
    for field in ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"):
        stated = [count for one in (deciding, *earlier) if (count := getattr(one, field)) is not None]
        inside = (count for one in parts if (count := getattr(one, field)) is not None)
        counts.append(sum(stated) if stated else next(inside, None))
    input_tokens, cached_tokens, output_tokens, reasoning_tokens = counts
    if cached_tokens is not None and (input_tokens is None or cached_tokens > input_tokens):
        cached_tokens = None
    source = next((one for one in (deciding, *earlier, *parts) if one.provenance is not TokenProvenance.UNKNOWN), deciding)
    return Usage(input_tokens, cached_tokens, output_tokens, reasoning_tokens, source.provenance)


def cost_of(attempts: Sequence[Attempt]) -> float | None:
    """What all attempts cost, as far as the producer says so [USD]."""
    stated = [amount for one in attempts if (amount := one.read.amount("reported_cost_usd")) is not None]
    return sum(stated) if stated else None


class Earlier(NamedTuple):
    fallback: bool
    fallback_after: Outcome | None
    retries: int | None


def earlier_attempts_of(deciding: Attempt, earlier: Sequence[Attempt]) -> Earlier:
    """What came before the deciding attempt: a retry asks for the same model again, a fallback for another."""
    others = [one for one in earlier if one.requested_model != deciding.requested_model]
    retries = len(earlier) - len(others)
    fallback = bool(others) or deciding.read.flag("fallback") or False
    stated = deciding.read.parameter("retries", 32_767)
    return Earlier(fallback, others[-1].outcome if others else None, retries or stated)


def outcome_of(
    deciding: Attempt,
    around: Sequence[Attempt],
    parts: Sequence[Attempt],
    seconds: float,
    deadline_seconds: float | None = None,
) -> Outcome:
    """How the call ended: the attempt's own failure, else what a part or the HTTP request around it says."""
    outcome = deciding.outcome
    if outcome in (*_WELL, Outcome.CANCELLED):  # an abort has a reason that only the part knows
        outcome = next((part.outcome for part in parts if part.explains), outcome)
    for envelope in around:
        if outcome in _WELL and envelope.outcome is not Outcome.OK:
            outcome = envelope.outcome
    if outcome in (*_WELL, Outcome.UNAVAILABLE) and any(map(_client_left, (deciding, *around))):
        outcome = Outcome.CANCELLED
    if outcome is Outcome.CANCELLED and deadline_seconds is not None and seconds >= deadline_seconds:
        return Outcome.TIMEOUT  # the caller left because its time was up
    return outcome


def _client_left(attempt: Attempt) -> bool:
    """Whether a server says that it could not send an answer that was well so far: the caller has gone."""
    well = attempt.http_status is not None and attempt.http_status < 400
    return attempt.span.kind is SpanKind.SERVER and well and any(bare_class(type) in _GONE for type in attempt.error_types)


def ttft_of(deciding: Attempt, before: Sequence[Attempt]) -> float | None:
    """Time to first token as the caller saw it: attempts that failed before count too, and so does the HTTP request's head."""
    if deciding.ttft_seconds is None:
        return None
    return deciding.ttft_seconds + (deciding.span.start_ns - min(one.span.start_ns for one in (deciding, *before))) / 1e9


_FILLED = (
    *("requested_model", "response_model", "response_id", "provider", "replica", "stream", "max_tokens", "finish_reason"),
    *("reasoning_tokens", "api_key_hash", "api_key_alias", "attempted_tokens", "error_pattern"),
)


def fill(request: Request, inner: Request) -> Request:
    """A gateway's request, with what only a gateway further inside knew."""
    known: dict[str, Any] = {field: getattr(inner, field) for field in _FILLED if getattr(request, field) is None}
    if request.input_tokens is None and request.output_tokens is None:
        fields = ("input_tokens", "cached_tokens", "output_tokens", "token_provenance")
        known |= {field: getattr(inner, field) for field in fields}
    if request.tenant == UNKNOWN_TENANT:
        known["tenant"] = inner.tenant
    if request.ttft_seconds is None and inner.ttft_seconds is not None:
        known["ttft_seconds"] = inner.ttft_seconds + max(0.0, (inner.started_at - request.started_at).total_seconds())
    if request.operation is Operation.UNKNOWN:
        known["operation"] = inner.operation
    return replace(request, **known)
