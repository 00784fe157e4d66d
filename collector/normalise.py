"""Group of spans + Dialect → Request | Reject. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from collector.assemble import Group
from collector.config import Attributes as AttributeNames
from collector.field import Malformed, Reader, as_seconds, as_text
from collector.outcome import Ending, bare_class, decide
from collector.request import (
    UNKNOWN_TENANT,
    ObservedBy,
    Operation,
    Outcome,
    Reject,
    RejectReason,
    Request,
    TokenProvenance,
    TrafficClass,
)
from collector.sampling import sampling_weight
from collector.span import Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPERATIONS = {
    "chat": Operation.CHAT,
    "generate_content": Operation.CHAT,
    "text_completion": Operation.COMPLETION,
    "embeddings": Operation.EMBEDDING,
    "rerank": Operation.RERANK,
    "image_generation": Operation.IMAGE,
}
_EXCEPTION = "exception"
TRAFFIC_CLASS = "llm_slo.traffic_class"
SYNTHETIC = "user_agent.synthetic.type"
GENERIC_KEYS = frozenset({TRAFFIC_CLASS, SYNTHETIC})
"""Attributes that are read whatever the dialect."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a span is held against: times that are accepted, and where names that no dialect carries are looked for."""

    retention: timedelta
    engine_retention: timedelta
    clock_skew: timedelta
    cluster: str
    environment: str
    attributes: AttributeNames
    tenant: str | None = None
    """Tenant of the token that the spans came with; it outranks what they say."""


def normalise(group: Group, policy: Policy, now: datetime) -> Request | Reject:
    """The request that a group tells of, or why there is none."""
    try:
        return _normalise(group, policy, now)
    except Malformed as malformed:
        return malformed.reject


def _normalise(group: Group, policy: Policy, now: datetime) -> Request:
    span, dialect = group
    read = Reader(span.attributes, dialect.fields)
    observed_by = dialect.observed_by(span)
    started_at, ended_at = _times(span, policy, now, observed_by)
    finish_reason = read.first("finish_reason")
    http_status = read.parameter("http_status", 999)
    error_types = _error_types(span, dialect.error_types)
    signs = tuple(sign for sign in (span.error_sign, *(event.error_sign for event in span.events)) if sign is not None)
    outcome = decide(Ending(span.status, error_types, signs, http_status, finish_reason, dialect.finish_expected))
    input_tokens, cached_tokens, output_tokens = _tokens(read, outcome)
    counted = input_tokens is not None or output_tokens is not None
    latency = read.seconds("latency_seconds")
    return Request(
        trace_id=span.trace_id,
        span_id=span.span_id,
        started_at=started_at,
        ended_at=ended_at,
        observed_by=observed_by,
        tenant=policy.tenant or _named(span, policy.attributes.tenant) or UNKNOWN_TENANT,
        api_key_hash=read.text("api_key_hash"),
        api_key_alias=read.text("api_key_alias"),
        operation=_OPERATIONS.get(read.text("operation") or "", dialect.operation),
        traffic_class=_traffic_class(span),
        requested_model=read.text("requested_model"),
        response_model=read.text("response_model") or _named(span, policy.attributes.model),
        stream=read.flag("stream"),
        max_tokens=read.parameter("max_tokens"),
        choice_count=read.parameter("choice_count", 32_767),
        provider=read.text("provider"),
        replica=_named(span, policy.attributes.replica) or _server(read),
        environment=_named(span, policy.attributes.environment) or policy.environment,
        cluster=policy.cluster,
        request_id=read.text("request_id"),
        response_id=read.text("response_id"),
        outcome=outcome,
        http_status=http_status,
        finish_reason=finish_reason,
        error_class=bare_class(error_types[0]) if error_types else None,
        error_pattern=signs[0].pattern if signs else None,
        attempted_tokens=next((sign.attempted_tokens for sign in signs if sign.attempted_tokens is not None), None),
        fallback=read.flag("fallback") or False,
        input_tokens=input_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=read.tokens("reasoning_tokens"),
        token_provenance=dialect.provenance if counted else TokenProvenance.UNKNOWN,
        ttft_seconds=read.seconds("ttft_seconds"),
        latency_seconds=(ended_at - started_at).total_seconds() if latency is None else latency,
        queue_seconds=read.seconds("queue_seconds"),
        prefill_seconds=read.seconds("prefill_seconds"),
        decode_seconds=read.seconds("decode_seconds"),
        dialect=dialect.name,
        producer=span.scope[:200],
        producer_version=span.scope_version[:80],
        sampling_weight=sampling_weight(span.trace_state),
    )


def _times(span: Span, policy: Policy, now: datetime, observed_by: ObservedBy) -> tuple[datetime, datetime]:
    """Start and end, in microseconds; rows outside the partitions would fail their whole batch."""
    if span.end_ns < span.start_ns:
        raise Malformed(RejectReason.END_BEFORE_START, "endTimeUnixNano", span.end_ns, f"at least {span.start_ns}")
    as_seconds("endTimeUnixNano - startTimeUnixNano", (span.end_ns - span.start_ns) / 1e9)
    retention = policy.engine_retention if observed_by is ObservedBy.ENGINE else policy.retention
    oldest, newest = now - retention, now + policy.clock_skew
    if not _nanoseconds(oldest) <= span.end_ns:
        raise Malformed(RejectReason.OUTSIDE_RETENTION, "endTimeUnixNano", span.end_ns, f"a time after {oldest.isoformat()}")
    if not span.end_ns <= _nanoseconds(newest):
        raise Malformed(RejectReason.IN_THE_FUTURE, "endTimeUnixNano", span.end_ns, f"a time before {newest.isoformat()}")
    return (
        _EPOCH + timedelta(microseconds=span.start_ns // 1000),
        _EPOCH + timedelta(microseconds=span.end_ns // 1000),
    )


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _tokens(read: Reader, outcome: Outcome) -> tuple[int | None, int | None, int | None]:
    """Input, cached and output tokens. Zero on a failure is what a producer writes that does not know."""
    counts = [read.tokens("input_tokens"), read.tokens("cached_tokens"), read.tokens("output_tokens")]
    if outcome is not Outcome.OK and not any(counts):
        return None, None, None
    input_tokens, cached_tokens, output_tokens = counts
    if cached_tokens is not None and (input_tokens is None or cached_tokens > input_tokens):
        # A part larger than its whole would make a hit rate above 1: the part is not known.
        cached_tokens = None
    return input_tokens, cached_tokens, output_tokens


def _error_types(span: Span, keys: Iterable[str]) -> tuple[str, ...]:
    """Error classes: from attributes, then from exception events."""
    values = [span.attributes.get(key) for key in keys]
    values += [event.attributes.get("exception.type") for event in span.events if event.name == _EXCEPTION]
    return tuple(str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool))


def _named(span: Span, keys: Iterable[str]) -> str | None:
    """A name from the first of some attributes that is present, on the span or on its resource."""
    for key in keys:
        for attributes in (span.attributes, span.resource):
            value = attributes.get(key)
            if value is not None and value != "":
                return as_text(key, value)
    return None


def _server(read: Reader) -> str | None:
    """The replica, by the address that was called."""
    address, port = read.text("server_address"), read.text("server_port")
    return f"{address}:{port}" if address and port else address


def _traffic_class(span: Span) -> TrafficClass:
    if span.attributes.get(SYNTHETIC):
        return TrafficClass.SYNTHETIC
    stated = span.attributes.get(TRAFFIC_CLASS)
    return TrafficClass.__members__.get(str(stated).upper(), TrafficClass.INTERACTIVE)
