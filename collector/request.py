"""The Request: one LLM call as one party saw it. The one row.

Rows hold names, not database ids: ids are allocated when a batch is written, so that a request can wait in a spool while
Postgres is away. The integers of the enumerations below are stored; never renumber one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, IntFlag, StrEnum
from typing import NamedTuple

UNKNOWN_TENANT = "unknown"
"""The tenant of a request that names none: explicit, so that it is easy to see in every report."""


class ObservedBy(IntEnum):
    """Which party saw the call. Reports and bills use one (``primary_observer``), never a sum of them."""

    GATEWAY = 1
    CLIENT = 2
    ENGINE = 3


class Outcome(IntEnum):
    """How a call ended, from the point of view of the one who has to act."""

    UNKNOWN = 0
    OK = 1
    OOM = 2
    TIMEOUT = 3
    VALIDATION = 4
    RATE_LIMIT = 5
    """The tenant's own quota."""
    OVERLOAD = 6
    """Capacity: 429 of the engine, 503, admission."""
    AUTH = 7
    CANCELLED = 8
    CONTENT_FILTER = 9
    UNAVAILABLE = 10
    SERVER_ERROR = 11


class Operation(IntEnum):
    """What was asked for (OpenTelemetry's gen_ai.operation.name, folded)."""

    UNKNOWN = 0
    CHAT = 1
    COMPLETION = 2
    EMBEDDING = 3
    RERANK = 4
    IMAGE = 5
    AUDIO = 6
    OTHER = 7


class TrafficClass(IntEnum):
    """Health checks and probes are synthetic: counted, never in an SLO or a bill."""

    INTERACTIVE = 1
    BATCH = 2
    SYNTHETIC = 3


class TokenProvenance(IntEnum):
    """Where the token counts of a row come from."""

    UNKNOWN = 0
    REPORTED = 1
    """The provider's ``usage``, as the span states it."""
    ESTIMATED = 2
    """Counted by a client library with a tokenizer of its own."""
    ENGINE = 3


class BillingFlag(IntFlag):
    """What a billing policy may treat apart; part of the rollups' key, so that totals stay exact after a change of policy."""

    NONE = 0
    FALLBACK = 1
    GATEWAY_CACHE = 2
    ESTIMATED = 4
    MANY_CHOICES = 8
    RETRIED = 16


class RejectReason(StrEnum):
    """Why a span gave no row. The value is the label of the ``rejected`` counter."""

    ZERO_ID = "zero_id"
    END_BEFORE_START = "end_before_start"
    OUTSIDE_RETENTION = "outside_retention"
    IN_THE_FUTURE = "in_the_future"
    NEGATIVE_TOKENS = "negative_tokens"
    ABSURD_TOKENS = "absurd_tokens"
    NOT_A_DURATION = "not_a_duration"
    """NaN, infinite, negative, or longer than a day."""
    WRONG_TYPE = "wrong_type"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    """It waited for the rest of its request, and is damaged."""
    UNSTORABLE = "unstorable"
    """It waited for the rest of its request, and Postgres does not take what it came to."""


class Reject(NamedTuple):
    """A malformed span: why, in which field, with which value, against what was expected."""

    reason: RejectReason
    field: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.field}={self.value}: expected {self.expected}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One LLM call as one party saw it. ``None`` is unknown, which is never zero.

    Times are aware datetimes in UTC with microseconds; durations are seconds; ``cached_tokens`` is part of
    ``input_tokens``; ``reasoning_tokens`` is part of ``output_tokens``.
    """

    # Identity: (ended_at, span_id, trace_id, tenant) is the key, and what a resend repeats.
    trace_id: bytes
    span_id: bytes
    ended_at: datetime
    started_at: datetime
    observed_by: ObservedBy

    # Who asked
    tenant: str = UNKNOWN_TENANT
    api_key_hash: str | None = None
    api_key_alias: str | None = None
    end_user_hash: bytes | None = None
    session_hash: bytes | None = None
    hash_key_id: int | None = None

    # What was asked
    operation: Operation = Operation.UNKNOWN
    traffic_class: TrafficClass = TrafficClass.INTERACTIVE
    requested_model: str | None = None
    response_model: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    choice_count: int | None = None

    # Who answered
    provider: str | None = None
    replica: str | None = None
    revision: str | None = None
    environment: str | None = None
    cluster: str | None = None
    request_id: str | None = None
    """The observer's own id of the call: a gateway's call id, the engine's request id."""
    response_id: str | None = None

    # How it ended
    outcome: Outcome = Outcome.UNKNOWN
    http_status: int | None = None
    finish_reason: str | None = None
    error_class: str | None = None
    error_pattern: int | None = None
    """Id of the pattern that an error text matched; the text itself was dropped (``collector.error_sign``)."""
    attempted_tokens: int | None = None
    """Prompt length that a refusal names."""
    fallback: bool = False
    fallback_after: Outcome | None = None
    retries: int | None = None
    gateway_cache_hit: bool = False

    # How much
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    token_provenance: TokenProvenance = TokenProvenance.UNKNOWN
    reported_cost_usd: float | None = None

    # How long, in seconds
    ttft_seconds: float | None = None
    latency_seconds: float | None = None
    queue_seconds: float | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    preemptions: int | None = None

    # Who says so
    dialect: str
    producer: str = ""
    """Instrumentation scope's name."""
    producer_version: str = ""
    sampling_weight: float = 1.0

    @property
    def is_beside(self) -> bool:
        """Whether the same engine tells of the same sequence in a span too: its row is the one that counts."""
        return self.dialect == "vllm_plugin_beside"

    @property
    def model(self) -> str:
        """The name that SLOs, boards and reports group by: what the caller asked for, else what answered."""
        return self.requested_model or self.response_model or "unknown"

    @property
    def tpot_seconds(self) -> float | None:
        """Mean time per output token after the first, or ``None`` where it cannot be said."""
        if self.latency_seconds is None or self.ttft_seconds is None or self.output_tokens is None or self.output_tokens < 2:
            return None
        return (self.latency_seconds - self.ttft_seconds) / (self.output_tokens - 1)

    @property
    def billing_flags(self) -> BillingFlag:
        """What a billing policy may treat apart."""
        flags = BillingFlag.NONE
        if self.fallback:
            flags |= BillingFlag.FALLBACK
        if self.gateway_cache_hit:
            flags |= BillingFlag.GATEWAY_CACHE
        if self.token_provenance is TokenProvenance.ESTIMATED:
            flags |= BillingFlag.ESTIMATED
        if self.choice_count is not None and self.choice_count > 1:
            flags |= BillingFlag.MANY_CHOICES
        if self.retries:
            flags |= BillingFlag.RETRIED
        return flags
