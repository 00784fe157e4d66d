"""Several spans, one request: what each producer writes around, beside and inside the call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collector.assemble import assemble
from collector.request import ObservedBy, Operation, Outcome
from collector.span import SpanKind, StatusCode
from tests.collector.dialects.example import EXAMPLES
from tests.collector.dialects.sent import POLICY, Event, Sendable, Sent, decoded, failed, row, rows

SERVER, CLIENT = SpanKind.SERVER, SpanKind.CLIENT
ERROR = StatusCode.ERROR
PATH = "/v1/chat/completions"


def example(name: str) -> Sent:
    return EXAMPLES[name].sent


def sglang_thread(**attributes: Sendable) -> Sent:
    keys: dict[str, Sendable] = {"host_id": "a", "pid": 7, "thread_label": "Scheduler"}
    return Sent({**keys, **attributes}, scope="sglang server", status=ERROR, id=2, parent=1, seconds=1.5)


@pytest.mark.parametrize(
    ("expected", "thread"),
    [
        (Outcome.VALIDATION, {"type": "abort", "status_code": 400, "err_type": "BadRequestError", "message": "too long"}),
        (Outcome.OVERLOAD, {"type": "abort", "status_code": 503}),
        (Outcome.SERVER_ERROR, {"type": "abort", "err_type": "InternalServerError"}),
        (Outcome.CANCELLED, {"type": "abort", "message": "Client disconnected"}),
        (Outcome.OK, {"reason": "have unclosed span, auto closed"}),
    ],
)
def test_failure_of_sglang_stands_on_a_thread_below_the_request(expected: Outcome, thread: dict[str, Sendable]) -> None:
    root = example("sglang")
    stages = [example("sglang_stage")._replace(id=10 + number, parent=2, seconds=0.1) for number in range(40)]
    found = row(root, sglang_thread(**thread), *stages)
    assert (expected, ObservedBy.ENGINE, 740) == (found.outcome, found.observed_by, found.input_tokens)


def test_abort_that_sglang_explains_by_a_code_is_no_cancel() -> None:
    root = example("sglang")
    aborted = root._replace(attributes={**root.attributes, "gen_ai.response.finish_reasons": '["abort"]'})
    assert Outcome.CANCELLED is row(aborted).outcome
    assert Outcome.VALIDATION is row(aborted, sglang_thread(type="abort", status_code=400)).outcome


def test_aborted_request_of_sglang_waits_for_the_thread_that_says_why() -> None:
    root = example("sglang")
    aborted = root._replace(attributes={**root.attributes, "gen_ai.response.finish_reasons": '["abort"]'})
    thread = sglang_thread(type="abort", status_code=400)
    assert 1 == len(assemble(decoded(root), closing=False).groups)
    assert 1 == len(assemble(decoded(aborted), closing=False).waiting)
    assert 1 == len(assemble(decoded(aborted, thread), closing=False).groups)


def test_prefill_and_decode_server_are_an_engine_each() -> None:
    root = example("sglang")
    assert 2 == len(rows(root._replace(id=1), root._replace(id=2, start=0.5)))


def test_health_check_of_sglang_is_synthetic() -> None:
    root = example("sglang")
    found = row(root._replace(attributes={**root.attributes, "gen_ai.request.id": "HEALTH_CHECK_17"}))
    assert "SYNTHETIC" == found.traffic_class.name


def test_sglang_before_its_gen_ai_names_is_a_duration() -> None:
    found = row(Sent({"rid": "4f3a", "module": "sglang::request"}, scope="sglang server"))
    assert ("4f3a", None, 2.0) == (found.request_id, found.input_tokens, found.latency_seconds)


def test_kong_takes_status_and_id_from_the_http_request_around_it() -> None:
    keys: dict[str, Sendable] = {"http.url": "http://kong/my-route", "http.status_code": 503, "kong.request.id": "k-1"}
    root = Sent(keys, scope="kong-internal", kind=SERVER, id=9, seconds=3.0)
    balancer = Sent({"peer.service": "vllm"}, scope="kong-internal", id=3, parent=9)
    found = row(root, balancer, example("kong")._replace(parent=9))
    assert ("k-1", 503, 3.0, Outcome.OVERLOAD) == (found.request_id, found.http_status, found.latency_seconds, found.outcome)


def test_kong_request_that_calls_no_model_is_no_row() -> None:
    assert [] == rows(example("kong_proxy"))
    keys: dict[str, Sendable] = {"kong.request.id": "k-1", "http.url": PATH}
    assert Operation.CHAT is row(example("kong_proxy")._replace(attributes=keys)).operation


def tensorzero(*attempts: Sent) -> list[Sent]:
    http: dict[str, Sendable] = {"http.route": "/inference", "http.response.status_code": 200}
    names: dict[str, Sendable] = {"variant_name": "v", "stream": False}
    return [
        Sent(http, scope="tensorzero", kind=SERVER, id=10, seconds=5.0),
        example("tensorzero_function")._replace(id=11, parent=10, seconds=4.9),
        Sent(names, scope="tensorzero", id=12, parent=11, seconds=4.8),
        Sent({"model_name": "tiny"}, scope="tensorzero", id=13, parent=12, seconds=4.7),
        *(one._replace(id=20 + number, parent=13) for number, one in enumerate(attempts)),
    ]


def test_tensorzero_sums_its_attempts_and_the_last_good_one_answers() -> None:
    attempt = example("tensorzero")
    other = {**attempt.attributes, "gen_ai.request.model": "big", "gen_ai.system": "openai"}
    found = row(
        *tensorzero(
            attempt._replace(seconds=1.0, status=ERROR, events=(failed("rate limit reached"),)),
            attempt._replace(start=1.0, attributes=other),
        )
    )
    assert (80, 38, 0.5) == (found.input_tokens, found.output_tokens, found.reported_cost_usd)
    assert ("openai", Outcome.OK, True, Outcome.RATE_LIMIT) == (
        found.provider,
        found.outcome,
        found.fallback,
        found.fallback_after,
    )
    assert ("team-a", "i-1", 5.0) == (found.tenant, found.request_id, found.latency_seconds)


def test_tensorzero_in_its_other_format_is_the_same_dialect() -> None:
    keys: dict[str, Sendable] = {
        "provider_name": "vllm-1",
        "openinference.span.kind": "LLM",
        "llm.model_name": "tiny",
        "llm.token_count.prompt": 40,
        "llm.token_count.completion": 19,
    }
    chain = Sent({"openinference.span.kind": "CHAIN", "model_name": "tiny"}, scope="tensorzero", id=2)
    found = row(chain, Sent(keys, scope="tensorzero", parent=2))
    assert ("tensorzero", 40, 19) == (found.dialect, found.input_tokens, found.output_tokens)


def test_answer_from_the_cache_of_tensorzero_is_a_request_without_tokens() -> None:
    found = row(*tensorzero())
    assert ("http_server", Outcome.OK, None, "team-a") == (found.dialect, found.outcome, found.input_tokens, found.tenant)


@pytest.mark.parametrize(("outer", "call"), [("vercel_outer", "vercel_legacy"), ("vercel_step", "vercel")])
def test_outer_span_of_vercel_repeats_its_steps(outer: str, call: str) -> None:
    steps = [example(call)._replace(id=2 + number, parent=1, start=number) for number in range(2)]
    found = rows(example(outer)._replace(id=1, seconds=5.0), *steps)
    assert [40, 40] == [one.input_tokens for one in found]


@pytest.mark.parametrize(("outer", "call"), [("pydantic_ai_agent", "pydantic_ai"), ("langsmith_run", "langsmith")])
def test_run_that_repeats_the_total_of_its_calls_gives_no_row(outer: str, call: str) -> None:
    assert 40 == row(example(outer)._replace(id=1), example(call)._replace(id=2, parent=1)).input_tokens


def test_langchain_and_the_client_library_below_it_are_one_call() -> None:
    step = example("langchain_step")._replace(id=1)
    chat = example("langchain")._replace(id=2, parent=1)
    library = example("openllmetry")._replace(id=3, parent=2)
    assert "openllmetry" == row(step, chat, library).dialect


def test_wrappers_of_spring_ai_give_no_row() -> None:
    advisor = example("spring_ai_client")._replace(id=1)
    assert "spring_ai" == row(advisor, example("spring_ai")._replace(id=2, parent=1)).dialect


def test_nested_autologging_of_mlflow_is_one_call() -> None:
    outer, inner = example("mlflow"), example("mlflow")
    assert 40 == row(outer._replace(id=1), inner._replace(id=2, parent=1)).input_tokens


@pytest.mark.parametrize("trace", [1, 2])
def test_stream_of_logfire_is_the_span_that_has_the_tokens(trace: int) -> None:
    started = example("logfire_started")._replace(id=1, seconds=0.1)
    found = row(started, example("logfire")._replace(id=2, trace=trace, start=1.5))
    assert (40, 1.5, 1.5) == (
        found.input_tokens,
        found.latency_seconds,
        (found.ended_at - found.started_at).total_seconds(),
    )


def test_plain_call_and_failure_of_logfire_are_calls() -> None:
    sent = example("logfire")
    plain = {key: value for key, value in sent.attributes.items() if key != "duration"}
    assert 2.0 == row(sent._replace(attributes=plain, seconds=2.0)).latency_seconds
    broken = example("logfire_started")._replace(status=ERROR, events=(failed("Request timed out.", "openai.APITimeoutError"),))
    assert Outcome.TIMEOUT is row(broken).outcome


def test_gateway_behind_a_gateway_adds_what_the_first_does_not_know() -> None:
    outer = example("portkey")
    bare = {key: value for key, value in outer.attributes.items() if "cache" not in key}
    found = row(outer._replace(attributes=bare, seconds=3.0), example("agentgateway")._replace(id=2, parent=1))
    assert ("portkey", 3.0, 40, "team-a") == (found.dialect, found.latency_seconds, found.input_tokens, found.tenant)


def bifrost(index: int, **change: Any) -> Sent:
    sent = example("bifrost")
    keys = {**sent.attributes, "gen_ai.fallback_index": index, "gen_ai.request.model": f"model-{index}"}
    return sent._replace(attributes=keys, id=10 + index, start=float(index), **change)


@pytest.mark.parametrize("parent", [0, 7])
def test_fallbacks_of_bifrost_are_attempts_at_one_request(parent: int) -> None:
    broken = {"status": ERROR, "events": (failed("Rate limit reached"),), "seconds": 0.5, "parent": parent}
    found = row(bifrost(0, **broken), bifrost(1, **broken), bifrost(2, parent=parent))
    assert (Outcome.OK, True, Outcome.RATE_LIMIT, "model-0") == (
        found.outcome,
        found.fallback,
        found.fallback_after,
        found.requested_model,
    )


def test_requests_through_bifrost_under_one_parent_are_two() -> None:
    assert 2 == len(rows(bifrost(0, status=ERROR, seconds=0.5), bifrost(0, parent=0)._replace(id=20, start=1.0)))


def test_client_gateway_and_engine_are_a_row_each() -> None:
    client = example("langchain")._replace(id=1)
    gateway = example("agentgateway")._replace(id=2, parent=1)
    engine = example("vllm")._replace(id=3, parent=2)
    found = rows(client, gateway, engine)
    assert [ObservedBy.GATEWAY, ObservedBy.CLIENT, ObservedBy.ENGINE] == [one.observed_by for one in found]


@pytest.mark.parametrize(
    ("name", "change", "outcome"),
    [
        ("portkey", {"error.type": "429"}, Outcome.RATE_LIMIT),
        ("envoy_ai_gen_ai", {"error.type": "500"}, Outcome.SERVER_ERROR),
        ("bifrost", {"gen_ai.error.type": "rate_limit_exceeded", "gen_ai.error": "Rate limit reached"}, Outcome.RATE_LIMIT),
        ("agentgateway", {"http.status": 504, "error": "request timeout"}, Outcome.TIMEOUT),
        ("agentgateway", {"http.status": 503, "error": "no healthy backends"}, Outcome.UNAVAILABLE),
        ("langfuse", {"langfuse.observation.level": "ERROR"}, Outcome.SERVER_ERROR),
        (
            "langfuse",
            {
                "langfuse.observation.level": "ERROR",
                "langfuse.observation.status_message": "Error code: 429 - {'error': {'message': 'slow down'}}",
            },
            Outcome.RATE_LIMIT,
        ),
        # What a stream used comes at its end, so one that says it did not break off.
        ("langfuse", {"langfuse.observation.metadata.finish_reason": ""}, Outcome.OK),
        (
            "langfuse",
            {"langfuse.observation.metadata.finish_reason": "", "langfuse.observation.usage_details": ""},
            Outcome.UNKNOWN,
        ),
        ("spring_ai", {"error.type": "none"}, Outcome.OK),
        ("dynamo", {"request.outcome": "success"}, Outcome.OK),
        ("dynamo", {"request.outcome": "timeout"}, Outcome.TIMEOUT),
        ("vercel", {"gen_ai.response.finish_reasons": ("error",)}, Outcome.SERVER_ERROR),
    ],
)
def test_each_producer_has_its_way_to_say_that_it_failed(name: str, change: dict[str, Sendable], outcome: Outcome) -> None:
    sent = example(name)
    assert outcome is row(sent._replace(attributes={**sent.attributes, **change})).outcome


@pytest.mark.parametrize("latency", [1500, "1500"])
def test_smg_states_microseconds_to_the_headers_as_number_or_text(latency: Sendable) -> None:
    sent = example("smg")
    found = row(sent._replace(attributes={**sent.attributes, "latency": latency}))
    assert (2.0, None) == (found.latency_seconds, found.ttft_seconds)


def test_dynamo_without_a_model_is_a_health_check() -> None:
    sent = example("dynamo")
    assert [] == rows(sent._replace(attributes={key: value for key, value in sent.attributes.items() if key != "model"}))


def test_bare_tokens_of_somebody_else_are_not_read() -> None:
    assert [] == rows(Sent({"input_tokens": 40, "output_tokens": 19, "request_id": "x"}))


def test_first_chunk_of_vercel_may_stand_on_an_event() -> None:
    sent = example("vercel_legacy")
    bare = {key: value for key, value in sent.attributes.items() if key != "ai.response.msToFirstChunk"}
    event = Event("ai.stream.firstChunk", 0.5, {"ai.stream.msToFirstChunk": 250.0})
    assert 0.25 == row(sent._replace(attributes=bare, events=(event,))).ttft_seconds


def test_embedding_needs_no_finish_reason() -> None:
    keys: dict[str, Sendable] = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": "e",
        "gen_ai.usage.input_tokens": 9,
    }
    assert Outcome.OK is row(Sent(keys, kind=SERVER)).outcome


def test_cache_key_of_litellm_says_that_the_answer_came_from_its_cache() -> None:
    sent = example("litellm_v1")
    hidden = '{"api_base": "http://10.0.0.7:8000/v1", "cache_key": "a9f0"}'
    assert row(sent._replace(attributes={**sent.attributes, "hidden_params": hidden})).gateway_cache_hit


def test_name_that_the_operator_chose_is_believed_where_callers_choose_attributes() -> None:
    sent = example("cloudflare")
    policy = replace(POLICY, attributes=POLICY.attributes.model_copy(update={"tenant": ("team",)}))
    assert "team-a" == row(sent._replace(attributes={**sent.attributes, "team": "team-a"}), policy=policy).tenant


def test_llm_d_beside_its_engine_adds_nothing() -> None:
    found = row(example("llm_d")._replace(id=1), example("vllm")._replace(id=2, parent=1))
    assert ObservedBy.ENGINE is found.observed_by


def test_trace_id_of_64_bits_is_one() -> None:
    (span,) = decoded(example("sglang")._replace(trace=2**63))
    assert bytes(8) == span.trace_id[:8]
