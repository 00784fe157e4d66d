"""What earlier and later versions of a producer write otherwise."""

from __future__ import annotations

import pytest

from collector.request import ObservedBy, Operation, Outcome, TokenProvenance
from collector.span import SpanKind, StatusCode
from tests.collector.dialects.keys import GEN_AI_KEYS, PROVIDER
from tests.collector.dialects.sent import Event, Sendable, Sent, failed, row, rows

CLIENT = SpanKind.CLIENT
ERROR = StatusCode.ERROR
WITHOUT_ENDING = {key: value for key, value in GEN_AI_KEYS.items() if "finish" not in key}
WITHOUT_USAGE = {key: value for key, value in WITHOUT_ENDING.items() if "usage" not in key}


def test_first_engine_of_vllm_says_the_model_and_not_always_a_time_in_queue() -> None:
    keys: dict[str, Sendable] = {
        "gen_ai.response.model": "meta-llama/Llama-3.1-8B",
        "gen_ai.request.id": "cmpl-1",
        "gen_ai.request.n": 1,
        "gen_ai.usage.num_sequences": 1,
        "gen_ai.usage.prompt_tokens": 12,
        "gen_ai.usage.completion_tokens": 3,
        "gen_ai.latency.e2e": 1.5,
    }
    found = row(Sent(keys, scope="vllm.llm_engine", kind=SpanKind.SERVER))
    assert (ObservedBy.ENGINE, "meta-llama/Llama-3.1-8B", 12, 3) == (
        found.observed_by,
        found.response_model,
        found.input_tokens,
        found.output_tokens,
    )


@pytest.mark.parametrize(
    ("outcome", "reasons", "status", "events", "more"),
    [
        (Outcome.CANCELLED, ("error",), StatusCode.UNSET, (), {}),
        (Outcome.OOM, ("error",), ERROR, (failed("CUDA out of memory", "openai.APIError"),), {"error.type": "openai.APIError"}),
        (Outcome.TIMEOUT, ("error",), ERROR, (), {"error.type": "openai.APITimeoutError"}),
        (Outcome.OK, ("stop",), StatusCode.UNSET, (), {}),
    ],
)
def test_choice_that_opentelemetrys_client_saw_no_end_of_was_left_unless_there_is_an_error(
    outcome: Outcome, reasons: tuple[str, ...], status: StatusCode, events: tuple[Event, ...], more: dict[str, Sendable]
) -> None:
    keys = {**WITHOUT_USAGE, **PROVIDER, "gen_ai.response.finish_reasons": reasons, **more}
    sent = Sent(keys, scope="opentelemetry.instrumentation.genai.openai", kind=CLIENT, status=status)
    assert outcome is row(sent._replace(events=events)).outcome


def test_answer_that_says_what_it_used_came_to_its_end() -> None:
    scope = "opentelemetry.instrumentation.openai_v2"
    assert Outcome.OK is row(Sent({**WITHOUT_ENDING, **PROVIDER}, scope=scope, kind=CLIENT)).outcome
    assert Outcome.UNKNOWN is row(Sent({**WITHOUT_USAGE, **PROVIDER}, scope=scope, kind=CLIENT)).outcome
    plain = {**WITHOUT_USAGE, **PROVIDER, "gen_ai.request.stream": False}
    assert Outcome.OK is row(Sent(plain, scope=scope, kind=CLIENT)).outcome


def test_call_of_which_openlit_writes_nothing_but_the_exception_is_a_request() -> None:
    broken = Sent({}, scope="openlit.otel.tracing", kind=CLIENT, status=ERROR)
    refused = failed("Error code: 429 - slow down", "openai.RateLimitError")
    assert Outcome.RATE_LIMIT is row(broken._replace(events=(refused,))).outcome
    # Its spans of vector databases come from the same scope.
    assert [] == rows(broken._replace(events=(failed("no such collection", "chromadb.errors.NotFoundError"),)))


@pytest.mark.parametrize(
    ("provenance", "keys"),
    [
        (TokenProvenance.REPORTED, {"gen_ai.request.is_stream": False}),
        (TokenProvenance.ESTIMATED, {"gen_ai.request.is_stream": True}),
        (TokenProvenance.ESTIMATED, {"gen_ai.request.stream": True}),
        (TokenProvenance.REPORTED, {"gen_ai.request.stream": True, "gen_ai.usage.cache_read.input_tokens": 7}),
    ],
)
def test_openlit_counts_by_itself_what_a_stream_used_and_upstream_did_not_send(
    provenance: TokenProvenance, keys: dict[str, Sendable]
) -> None:
    found = row(Sent({**GEN_AI_KEYS, **PROVIDER, **keys}, scope="openlit.instrumentation.openai", kind=CLIENT))
    assert provenance is found.token_provenance


def test_embedding_is_one_in_the_words_of_each_client() -> None:
    usage: dict[str, Sendable] = {"gen_ai.request.model": "tiny", "gen_ai.usage.input_tokens": 12}
    sent = {
        "openllmetry": Sent(
            {**usage, "gen_ai.system": "OpenAI", "llm.request.type": "embedding"},
            scope="opentelemetry.instrumentation.openai.v1",
        ),
        "openinference": Sent(
            {
                "openinference.span.kind": "EMBEDDING",
                "embedding.model_name": "tiny-2",
                "embedding.invocation_parameters": '{"model": "tiny", "input": "secret-prompt-text"}',
                "llm.token_count.prompt": 12,
            },
            scope="openinference.instrumentation.openai",
        ),
        "langfuse": Sent(
            {"langfuse.observation.type": "embedding", "langfuse.observation.usage_details": '{"input": 12}'},
            scope="langfuse-sdk",
        ),
    }
    for dialect, one in sent.items():
        found = row(one)
        assert (dialect, Operation.EMBEDDING, 12) == (found.dialect, found.operation, found.input_tokens)
    assert "tiny" == row(sent["openinference"]).requested_model


def test_stream_of_logfires_older_versions_that_asked_for_its_usage_and_got_none_is_suspect() -> None:
    keys: dict[str, Sendable] = {"gen_ai.request.model": "tiny", "duration": 0.5}
    asked = '{"model": "tiny", "stream": true, "stream_options": {"include_usage": true}, "messages": "secret-prompt-text"}'
    spoken = '{"message": {"content": "secret-prompt-text"}, "usage": {"prompt_tokens": 40, "completion_tokens": 19}}'
    stream = Sent({**keys, "request_data": asked}, scope="logfire.openai", seconds=0.0)
    assert Outcome.UNKNOWN is row(stream).outcome
    found = row(stream._replace(attributes={**stream.attributes, "response_data": spoken}))
    assert (Outcome.OK, 40, 19, True) == (found.outcome, found.input_tokens, found.output_tokens, found.stream)
    unasked = Sent({**keys, "request_data": '{"model": "tiny", "stream": true}'}, scope="logfire.openai", seconds=0.0)
    assert Outcome.OK is row(unasked).outcome
