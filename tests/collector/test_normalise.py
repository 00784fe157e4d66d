from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.assemble import Group
from collector.config import Attributes
from collector.dialects import recognise
from collector.error_sign import classify
from collector.normalise import Policy, normalise
from collector.request import ObservedBy, Operation, Outcome, Reject, RejectReason, Request, TokenProvenance, TrafficClass
from collector.span import Span, SpanEvent, SpanKind, StatusCode, Value

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
END = int(NOW.timestamp()) * 1_000_000_000
POLICY = Policy(
    retention=timedelta(days=100),
    engine_retention=timedelta(days=14),
    clock_skew=timedelta(hours=1),
    cluster="default",
    environment="production",
    attributes=Attributes(),
)
CHAT: dict[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "vllm",
    "gen_ai.request.model": "tiny",
    "gen_ai.response.finish_reasons": ("stop",),
}
VLLM: dict[str, Value] = {
    "gen_ai.request.id": "chatcmpl-1",
    "gen_ai.latency.time_in_queue": 0.01,
    "gen_ai.latency.time_to_first_token": 0.2,
    "gen_ai.latency.e2e": 1.5,
    "gen_ai.latency.time_in_model_prefill": 0.19,
    "gen_ai.latency.time_in_model_decode": 1.3,
    "gen_ai.usage.prompt_tokens": 740,
    "gen_ai.usage.completion_tokens": 32,
}


def span(
    attributes: dict[str, Value],
    *,
    kind: SpanKind = SpanKind.SERVER,
    status: StatusCode = StatusCode.UNSET,
    start_ns: int = END - 2_000_000_000,
    end_ns: int = END,
    resource: dict[str, Value] | None = None,
    text: str = "",
    events: tuple[SpanEvent, ...] = (),
) -> Span:
    return Span(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        parent_span_id=b"",
        trace_state="",
        kind=kind,
        start_ns=start_ns,
        end_ns=end_ns,
        status=status,
        attributes=attributes,
        events=events,
        resource=resource or {},
        scope="test",
        scope_version="1",
        error_sign=classify(text),
    )


def read(of: Span) -> Request | Reject:
    dialect = recognise(of)
    assert dialect is not None
    return normalise(Group(of, dialect), POLICY, NOW)


def request(of: Span) -> Request:
    result = read(of)
    assert isinstance(result, Request), result
    return result


def reject(of: Span) -> Reject:
    result = read(of)
    assert isinstance(result, Reject), result
    return result


def test_present_generation_of_gen_ai_names_becomes_a_row() -> None:
    row = request(
        span(
            CHAT
            | {
                "gen_ai.response.model": "tiny-v2",
                "gen_ai.response.id": "chatcmpl-9",
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.cache_read.input_tokens": 7,
                "gen_ai.usage.output_tokens": 19,
                "gen_ai.usage.reasoning.output_tokens": 3,
                "gen_ai.request.stream": True,
                "gen_ai.response.time_to_first_chunk": 0.05,
                "server.address": "10.0.0.7",
                "server.port": 8000,
                "tenant.id": "acme",
                "http.response.status_code": 200,
            }
        )
    )
    expected = {
        "observed_by": ObservedBy.GATEWAY,
        "tenant": "acme",
        "model": "tiny",
        "response_model": "tiny-v2",
        "response_id": "chatcmpl-9",
        "input_tokens": 40,
        "cached_tokens": 7,
        "output_tokens": 19,
        "reasoning_tokens": 3,
        "stream": True,
        "ttft_seconds": 0.05,
        "latency_seconds": 2.0,
        "replica": "10.0.0.7:8000",
        "outcome": Outcome.OK,
        "finish_reason": "stop",
        "operation": Operation.CHAT,
        "token_provenance": TokenProvenance.REPORTED,
        "environment": "production",
        "ended_at": NOW,
    }
    assert expected == {name: getattr(row, name) for name in expected}


def test_older_generation_of_gen_ai_names_is_read_alike() -> None:
    row = request(
        span(
            {
                "gen_ai.system": "openai",
                "gen_ai.request.model": "tiny",
                "gen_ai.response.finish_reasons": '["length"]',
                "gen_ai.usage.prompt_tokens": "40",
                "gen_ai.usage.completion_tokens": "19",
            },
            kind=SpanKind.CLIENT,
        )
    )
    assert (
        row.observed_by,
        row.provider,
        row.input_tokens,
        row.output_tokens,
        row.finish_reason,
    ) == (ObservedBy.CLIENT, "openai", 40, 19, "length")


def test_vllm_span_becomes_an_engine_row_named_by_its_resource() -> None:
    row = request(span(VLLM, resource={"llm_slo.replica": "vllm-0", "llm_slo.model": "tiny"}))
    expected = {
        "observed_by": ObservedBy.ENGINE,
        "request_id": "chatcmpl-1",
        "model": "tiny",
        "replica": "vllm-0",
        "input_tokens": 740,
        "output_tokens": 32,
        "queue_seconds": 0.01,
        "prefill_seconds": 0.19,
        "decode_seconds": 1.3,
        "ttft_seconds": 0.2,
        "latency_seconds": 1.5,
        "token_provenance": TokenProvenance.ENGINE,
        "outcome": Outcome.OK,
    }
    assert expected == {name: getattr(row, name) for name in expected}


def test_hand_written_attributes_are_in_milliseconds() -> None:
    row = request(span({"llm.model": "tiny", "llm.ttft_ms": 28.5, "llm.latency_ms": 234.0, "llm.input_tokens": 40}))
    assert (
        row.observed_by,
        pytest.approx(row.ttft_seconds),
        pytest.approx(row.latency_seconds),
        row.input_tokens,
    ) == (ObservedBy.GATEWAY, 0.0285, 0.234, 40)


@pytest.mark.parametrize(
    "attributes", [{}, {"http.route": "/"}, {"gen_ai.operation.name": "invoke_agent", "gen_ai.system": "x"}]
)
def test_what_is_no_llm_call_has_no_dialect(attributes: dict[str, Value]) -> None:
    assert recognise(span(attributes)) is None


def test_missing_tenant_is_explicitly_unknown() -> None:
    assert request(span(CHAT)).tenant == "unknown"


def test_tenant_and_environment_may_come_from_the_resource() -> None:
    row = request(span(CHAT, resource={"tenant.id": "acme", "deployment.environment.name": "staging"}))
    assert (row.tenant, row.environment) == ("acme", "staging")


def test_zero_tokens_on_a_failure_are_unknown() -> None:
    row = request(
        span(
            CHAT | {"error.type": "500", "gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0},
            status=StatusCode.ERROR,
        )
    )
    assert (row.input_tokens, row.output_tokens, row.token_provenance) == (None, None, TokenProvenance.UNKNOWN)


def test_out_of_memory_is_read_from_text_under_a_generic_class() -> None:
    text = "Error code: 500 - CUDA out of memory. Tried to allocate 2.50 GiB."
    row = request(span(CHAT | {"error.type": "openai.InternalServerError"}, status=StatusCode.ERROR, text=text))
    assert (row.outcome, row.error_class, row.error_pattern) == (Outcome.OOM, "InternalServerError", 1)


def test_class_of_an_exception_event_counts_where_no_attribute_names_one() -> None:
    event = SpanEvent("exception", END, {"exception.type": "openai.APITimeoutError"})
    assert request(span(CHAT, status=StatusCode.ERROR, events=(event,))).outcome is Outcome.TIMEOUT


def test_probe_is_synthetic() -> None:
    assert request(span(CHAT | {"user_agent.synthetic.type": "bot"})).traffic_class is TrafficClass.SYNTHETIC
    assert request(span(CHAT | {"llm_slo.traffic_class": "batch"})).traffic_class is TrafficClass.BATCH


def test_more_cached_than_input_tokens_is_not_believed() -> None:
    row = request(span(CHAT | {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 7}))
    assert (row.input_tokens, row.cached_tokens) == (5, None)


def test_silly_parameter_of_a_caller_does_not_cost_the_row() -> None:
    assert request(span(CHAT | {"gen_ai.request.max_tokens": 10**15})).max_tokens is None


@pytest.mark.parametrize(
    ("reason", "field", "of"),
    [
        (RejectReason.END_BEFORE_START, "endTimeUnixNano", span(CHAT, start_ns=END + 1)),
        (RejectReason.IN_THE_FUTURE, "endTimeUnixNano", span(CHAT, start_ns=END, end_ns=END + 3601 * 10**9)),
        (RejectReason.OUTSIDE_RETENTION, "endTimeUnixNano", span(CHAT, start_ns=1, end_ns=2)),
        (
            RejectReason.OUTSIDE_RETENTION,
            "endTimeUnixNano",
            span(VLLM, start_ns=END - 15 * 86400 * 10**9, end_ns=END - 15 * 86400 * 10**9),
        ),
        (
            RejectReason.NOT_A_DURATION,
            "endTimeUnixNano - startTimeUnixNano",
            span(CHAT, start_ns=END - 2 * 86400 * 10**9),
        ),
        (RejectReason.NEGATIVE_TOKENS, "gen_ai.usage.input_tokens", span(CHAT | {"gen_ai.usage.input_tokens": -1})),
        (RejectReason.ABSURD_TOKENS, "gen_ai.usage.output_tokens", span(CHAT | {"gen_ai.usage.output_tokens": 10**12})),
        (RejectReason.WRONG_TYPE, "gen_ai.usage.output_tokens", span(CHAT | {"gen_ai.usage.output_tokens": "many"})),
        (RejectReason.WRONG_TYPE, "gen_ai.usage.output_tokens", span(CHAT | {"gen_ai.usage.output_tokens": 1.5})),
        (
            RejectReason.NOT_A_DURATION,
            "gen_ai.response.time_to_first_chunk",
            span(CHAT | {"gen_ai.response.time_to_first_chunk": float("nan")}),
        ),
        (RejectReason.NOT_A_DURATION, "gen_ai.latency.e2e", span(VLLM | {"gen_ai.latency.e2e": -0.1})),
        (RejectReason.TOO_LARGE, "tenant.id", span(CHAT | {"tenant.id": "x" * 257})),
    ],
)
def test_malformed_span_is_rejected_by_reason_and_names_the_field(reason: RejectReason, field: str, of: Span) -> None:
    result = reject(of)
    assert (reason, field) == (result.reason, result.field)


@pytest.mark.parametrize("length", [257, 1024])
def test_long_id_of_an_answer_costs_no_row(length: int) -> None:
    assert "r" * length == request(span(CHAT | {"gen_ai.response.id": "r" * length})).response_id


_VALUES = st.one_of(
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(),
    st.text(max_size=40),
    st.tuples(st.text(max_size=5)),
    st.just("[1, 2"),
    st.just('[{"a": 1}]'),
)
_SECONDS = st.integers(-200 * 86400, 2 * 86400)
_KEYS = st.sampled_from(sorted({key for name in (CHAT, VLLM) for key in name} | {"llm.model", "tenant.id", "error.type"}))


@given(st.dictionaries(_KEYS, _VALUES), _SECONDS, _SECONDS)
def test_no_attribute_value_breaks_the_normaliser(attributes: dict[str, Value], start: int, end: int) -> None:
    of = span(CHAT | attributes, start_ns=END + start * 10**9, end_ns=END + end * 10**9)
    dialect = recognise(of)
    if dialect is not None:
        assert isinstance(normalise(Group(of, dialect), POLICY, NOW), Request | Reject)
