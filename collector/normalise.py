"""Group of spans + Dialect → Request | Reject. Pure: the time is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from urllib.parse import urlsplit

from collector.assemble import Group
from collector.attempt import Attempt, read_attempt
from collector.config import Attributes as AttributeNames
from collector.course import cost_of, earlier_attempts_of, fill, outcome_of, ttft_of, usage_of
from collector.dialects import Dialect, recognise
from collector.dialects.http_server import HTTP_SERVER, PATH_KEYS, operation_of
from collector.field import Malformed, Reader, as_seconds, as_text
from collector.fragment import Hashed
from collector.hash_key import HashKey
from collector.moment import bounds, moment
from collector.outcome import bare_class
from collector.request import (
    UNKNOWN_TENANT,
    ObservedBy,
    Operation,
    Reject,
    RejectReason,
    Request,
    TrafficClass,
)
from collector.sampling import sampling_weight
from collector.span import Span
from collector.template import Names, Retention, Templates

_OPERATIONS = {
    "chat": Operation.CHAT,
    "generate_content": Operation.CHAT,
    "text_completion": Operation.COMPLETION,
    "embeddings": Operation.EMBEDDING,
    "rerank": Operation.RERANK,
    "image_generation": Operation.IMAGE,
    # LiteLLM's types of call.
    "completion": Operation.CHAT,
    "acompletion": Operation.CHAT,
    "atext_completion": Operation.COMPLETION,
    "embedding": Operation.EMBEDDING,
    "aembedding": Operation.EMBEDDING,
    "arerank": Operation.RERANK,
    "aimage_generation": Operation.IMAGE,
    "aresponses": Operation.CHAT,
    "anthropic_messages": Operation.CHAT,
    "atranscription": Operation.AUDIO,
    "aspeech": Operation.AUDIO,
}
TRAFFIC_CLASS = "llm_slo.traffic_class"
SYNTHETIC = "user_agent.synthetic.type"
_AGENTS = ("user_agent.original", "http.user_agent", "user_agent")
_PROBES = re.compile(r"kube-probe|GoogleHC|ELB-HealthChecker|Prometheus|[Bb]lackbox|Consul Health|Envoy/HC|llm-slo", re.ASCII)
"""User agents of health checks and probes."""
GENERIC_KEYS = frozenset({TRAFFIC_CLASS, SYNTHETIC, *_AGENTS})
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
    deadline_seconds: float | None = None
    """Callers' deadline: who leaves after so long has timed out [s]."""
    hash_key: HashKey | None = None
    tenant: str | None = None
    """Tenant of the token that the spans came with; it outranks what they say."""

    @cached_property
    def templates(self) -> Templates:
        """What was normalised by this policy."""
        names = self.attributes
        decide = frozenset({*names.tenant, *names.environment, *names.replica, *names.model, *PATH_KEYS}) | GENERIC_KEYS
        retention = Retention(self.retention, self.engine_retention, self.clock_skew)
        return Templates(Names(decide, names.end_user, names.session), retention, self.hash_key)

    def of(self, tenant: str | None) -> Policy:
        """The policy for spans that came with a token of a tenant; of one that names none it is this one."""
        if tenant is None:
            return self
        if tenant not in self._of_tenants:
            self._of_tenants[tenant] = replace(self, tenant=tenant)
        return self._of_tenants[tenant]

    @cached_property
    def _of_tenants(self) -> dict[str, Policy]:
        return {}


def normalise(group: Group, policy: Policy, now: datetime) -> Request | Reject:
    """The request that a group tells of, or why there is none."""
    span, dialect = group.span, group.dialect
    alone = not (group.envelope or group.earlier or group.parts or group.inner)
    if alone and (known := policy.templates.recall(span, dialect, now)) is not None:
        return known
    try:
        request = _normalise(group, policy, now)
    except Malformed as malformed:
        return malformed.reject
    if alone:
        policy.templates.learn(span, dialect, request)
    return request


def _normalise(group: Group, policy: Policy, now: datetime) -> Request:
    deciding = read_attempt(group.span, group.dialect)
    earlier = [read_attempt(span, recognise(span) or group.dialect) for span in group.earlier]
    around = [] if group.envelope is None else [read_attempt(group.envelope, recognise(group.envelope) or HTTP_SERVER)]
    parts = [read_attempt(span, recognise(span) or group.dialect) for span in group.parts]
    everyone = (*around, deciding, *earlier, *parts)
    spans = [attempt.span for attempt in everyone]
    span, dialect, read = group.outermost, group.dialect, deciding.read
    observed_by = dialect.observed_by(group.span)
    latency = None if around else read.seconds("latency_seconds")
    started_at, ended_at = _times(span, _start_ns(spans, latency), policy, now, observed_by)
    outcome = outcome_of(deciding, around, parts, (ended_at - started_at).total_seconds(), policy.deadline_seconds)
    failure = next((one for one in (deciding, *around, *parts) if one.error_types or one.signs), deciding)
    usage = usage_of(deciding, earlier, parts)
    # By their ends: an attempt that answered may count from when the call came, ahead of those that failed before it.
    attempts = sorted((deciding, *earlier), key=lambda one: (one.span.end_ns, one.span.start_ns))
    names = policy.attributes
    end_user = _hash(policy.hash_key, _named(everyone, names.end_user) or _text(everyone, "end_user"))
    session = _hash(policy.hash_key, _named(everyone, names.session) or _text(everyone, "session"))
    request = Request(
        trace_id=span.trace_id,
        span_id=span.span_id,
        started_at=started_at,
        ended_at=ended_at,
        observed_by=observed_by,
        tenant=policy.tenant or _named(everyone, names.tenant) or _text(everyone, "tenant") or UNKNOWN_TENANT,
        api_key_hash=_text(everyone, "api_key_hash"),
        api_key_alias=_text(everyone, "api_key_alias"),
        end_user_hash=end_user,
        session_hash=session,
        hash_key_id=policy.hash_key.id if policy.hash_key is not None and (end_user or session) else None,
        operation=_operation(everyone, dialect),
        traffic_class=_traffic_class(everyone),
        requested_model=next((one.requested_model for one in (*around, *attempts, *parts) if one.requested_model), None),
        response_model=read.text("response_model") or _named(everyone, names.model),
        stream=next((flag for one in (deciding, *parts) if (flag := _stream(one)) is not None), None),
        max_tokens=read.parameter("max_tokens"),
        choice_count=read.parameter("choice_count", 32_767),
        provider=read.text("provider"),
        replica=_named(everyone, names.replica) or _server(read),
        environment=_named(everyone, names.environment) or policy.environment,
        cluster=policy.cluster,
        request_id=_text((deciding, *around, *parts), "request_id"),
        response_id=_text((deciding, *parts), "response_id"),
        outcome=outcome,
        http_status=next((one.http_status for one in (*around, deciding) if one.http_status is not None), None),
        finish_reason=deciding.finish_reason,
        error_class=bare_class(failure.error_types[0]) if failure.error_types else None,
        error_pattern=failure.signs[0].pattern if failure.signs else None,
        attempted_tokens=_attempted_tokens(everyone),
        gateway_cache_hit=read.flag("gateway_cache_hit") or read.text("gateway_cache_key") is not None,
        reported_cost_usd=cost_of(attempts),
        **earlier_attempts_of(deciding, earlier)._asdict(),
        **usage._asdict(),
        ttft_seconds=ttft_of(deciding, (*around, *attempts)),
        latency_seconds=(ended_at - started_at).total_seconds() if latency is None else latency,
        queue_seconds=read.seconds("queue_seconds"),
        prefill_seconds=read.seconds("prefill_seconds"),
        decode_seconds=read.seconds("decode_seconds"),
        preemptions=read.parameter("preemptions"),
        dialect=dialect.name,
        producer=group.span.scope[:200],
        producer_version=group.span.scope_version[:80],
        sampling_weight=sampling_weight(span.trace_state),
    )
    for inner in group.inner:
        request = fill(request, _normalise(inner, policy, now))
    return request


def _text(attempts: Iterable[Attempt], field: str) -> str | None:
    for one in attempts:
        text = one.read.text(field)
        if text is not None:
            return text
    return None


def _attempted_tokens(attempts: Iterable[Attempt]) -> int | None:
    signs = (sign for one in attempts for sign in one.signs)
    return next((sign.attempted_tokens for sign in signs if sign.attempted_tokens is not None), None)


def _operation(attempts: Sequence[Attempt], dialect: Dialect) -> Operation:
    for one in attempts:
        said = one.read.text("operation") or ""
        operation = one.dialect.operations.get(said) or _OPERATIONS.get(said)
        if operation is not None:
            return operation
    paths = [path for one in attempts for key in PATH_KEYS if isinstance(path := one.span.attributes.get(key), str)]
    return next((found for path in paths if (found := operation_of(path)) is not None), dialect.operation)


def _hash(key: HashKey | None, name: str | None) -> bytes | None:
    """The keyed hash of what says who a person is; nothing without a key."""
    if key is None or name is None:
        return None
    return bytes.fromhex(name) if isinstance(name, Hashed) else key.hash(name)


def _times(span: Span, start_ns: int, policy: Policy, now: datetime, observed_by: ObservedBy) -> tuple[datetime, datetime]:
    """Start and end, in microseconds; rows outside the partitions would fail their whole batch."""
    if span.end_ns < start_ns:
        raise Malformed(RejectReason.END_BEFORE_START, "endTimeUnixNano", span.end_ns, f"at least {start_ns}")
    as_seconds("endTimeUnixNano - startTimeUnixNano", (span.end_ns - start_ns) / 1e9)
    retention = policy.engine_retention if observed_by is ObservedBy.ENGINE else policy.retention
    oldest_ns, newest_ns = bounds(now, retention, policy.clock_skew)
    if not oldest_ns <= span.end_ns:
        oldest = (now - retention).isoformat()
        raise Malformed(RejectReason.OUTSIDE_RETENTION, "endTimeUnixNano", span.end_ns, f"a time after {oldest}")
    if not span.end_ns <= newest_ns:
        newest = (now + policy.clock_skew).isoformat()
        raise Malformed(RejectReason.IN_THE_FUTURE, "endTimeUnixNano", span.end_ns, f"a time before {newest}")
    return moment(start_ns // 1000), moment(span.end_ns // 1000)


def _stream(attempt: Attempt) -> bool | None:
    stated = attempt.read.flag("stream")
    return attempt.dialect.streams(attempt.span) if stated is None else stated


def _start_ns(spans: Sequence[Span], latency: float | None) -> int:
    """When it began: a span without a duration of its own was written at the end of what took so long."""
    if latency is not None and all(span.start_ns == span.end_ns for span in spans):
        return spans[0].end_ns - int(latency * 1e9)
    return min(span.start_ns for span in spans)


_DEFAULT_NAMES = frozenset(name for names in AttributeNames().model_dump().values() for name in names)


def _named(attempts: Sequence[Attempt], keys: Iterable[str]) -> str | None:
    """A name from the first of some attributes that is present, on a span or on its resource.

    Where callers choose the attributes, only what the operator added is looked for: any of them could write ``tenant.id``.
    """
    for key in keys:
        for one in attempts:
            value = one.span.attributes.get(key)
            if value is not None and value != "" and not (one.dialect.caller_chosen and key in _DEFAULT_NAMES):
                return as_text(key, value)
        for one in attempts:
            value = one.span.resource.get(key)
            if value is not None and value != "":
                return as_text(key, value)
    return None


def _server(read: Reader) -> str | None:
    """The replica, by the address that was called."""
    address, port = read.text("server_address"), read.text("server_port")
    if address:
        return f"{address}:{port}" if port else address
    url = read.text("server_url")
    return urlsplit(url).netloc.rpartition("@")[2] or None if url else None


def _traffic_class(attempts: Sequence[Attempt]) -> TrafficClass:
    for one in attempts:
        attributes = one.span.attributes
        if one.dialect.synthetic(one.span):
            return TrafficClass.SYNTHETIC
        if one.dialect.caller_chosen or GENERIC_KEYS.isdisjoint(attributes):
            continue
        agents = (attributes.get(key) for key in _AGENTS)
        probe = any(isinstance(agent, str) and _PROBES.search(agent) for agent in agents)
        if attributes.get(SYNTHETIC) or probe:
            return TrafficClass.SYNTHETIC
    said = (one.span.attributes.get(TRAFFIC_CLASS) for one in attempts if not one.dialect.caller_chosen)
    stated = next((value for value in said if value is not None), None)
    return TrafficClass.__members__.get(str(stated).upper(), TrafficClass.INTERACTIVE)
