"""What LiteLLM's spans leave between the lines, as its proxy 1.106.2 writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from collector.assemble import assemble
from collector.config import Attributes
from collector.normalise import Policy, normalise
from collector.request import Outcome, Request, TokenProvenance
from collector.span import Span, SpanKind, StatusCode, Value
from tests.collector.test_assemble import SECOND, T0, server, span

POLICY = Policy(
    retention=timedelta(days=100),
    engine_retention=timedelta(days=14),
    clock_skew=timedelta(hours=1),
    cluster="c1",
    environment="production",
    attributes=Attributes(),
)
V2: dict[str, Value] = {
    "litellm.call_type": "acompletion",
    "litellm.call_id": "call-1",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "tiny",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 21,
    "gen_ai.usage.output_tokens": 1,
}
STREAM: dict[str, Value] = {"litellm.request.streaming": True, "gen_ai.response.time_to_first_chunk": 0.2}
ZEROS: dict[str, Value] = {"gen_ai.usage.cache_creation.input_tokens": 0, "gen_ai.usage.cache_read.input_tokens": 0}
V1: dict[str, Value] = {"llm.request.type": "acompletion", "litellm.call_id": "call-1", "llm.is_streaming": "True"}


def row(spans: Sequence[Span]) -> Request:
    """The one request of a trace."""
    (group,) = assemble(spans).groups
    request = normalise(group, POLICY, datetime.fromtimestamp(T0 // SECOND, UTC) + timedelta(minutes=1))
    assert isinstance(request, Request), request
    return request


def chat(attributes: dict[str, Value], status: StatusCode = StatusCode.UNSET) -> Span:
    return span("chat", attributes, parent="http", kind=SpanKind.CLIENT, at=(0.1, 1), status=status)


@pytest.mark.parametrize(
    ("attributes", "provenance"),
    [
        ({**V2, **STREAM, **ZEROS}, TokenProvenance.ESTIMATED),
        ({**V2, **STREAM, **ZEROS, "gen_ai.provider.name": "hosted_vllm"}, TokenProvenance.ESTIMATED),
        ({**V2, **STREAM, **ZEROS, "gen_ai.provider.name": "anthropic"}, TokenProvenance.REPORTED),
        ({**V2, **STREAM, "gen_ai.usage.cache_read.input_tokens": 0}, TokenProvenance.REPORTED),
        ({**V2, **STREAM}, TokenProvenance.REPORTED),
    ],
)
def test_v2_counts_of_a_stream_without_usage_are_estimates(attributes: dict[str, Value], provenance: TokenProvenance) -> None:
    assert provenance == row([server("http"), chat(attributes)]).token_provenance


@pytest.mark.parametrize(("creation", "provenance"), [(0, TokenProvenance.ESTIMATED), (None, TokenProvenance.REPORTED)])
def test_v1_counts_of_a_stream_without_usage_are_estimates(creation: int | None, provenance: TokenProvenance) -> None:
    usage: dict[str, Value] = {"gen_ai.usage.input_tokens": 21, "gen_ai.usage.output_tokens": 1}
    usage["metadata.usage_object#cache_read_input_tokens"] = 0
    if creation is not None:
        usage["metadata.usage_object#cache_creation_input_tokens"] = creation
    spans = [server("http"), chat({**V1, **usage, "gen_ai.system": "openai", "litellm.model_group": "tiny"})]
    assert provenance == row(spans).token_provenance


@pytest.mark.parametrize(
    ("attributes", "status", "stream"),
    [
        ({**V2, **STREAM}, StatusCode.UNSET, True),
        (V2, StatusCode.UNSET, False),
        (V2, StatusCode.ERROR, None),
        ({**V2, "gen_ai.response.time_to_first_chunk": 0.2}, StatusCode.ERROR, True),
    ],
)
def test_v2_says_of_no_failed_call_whether_it_was_a_stream(
    attributes: dict[str, Value], status: StatusCode, stream: bool | None
) -> None:
    assert stream is row([server("http"), chat(attributes, status)]).stream


def test_first_token_counts_from_the_arrival_of_the_request() -> None:
    assert pytest.approx(0.3) == row([server("http"), chat({**V2, **STREAM})]).ttft_seconds


def test_fallback_of_a_stream_keeps_the_model_that_was_asked_for() -> None:
    """v1 dates the attempt that answered from the arrival of the request: it begins ahead of the one that failed."""
    failed = {**V1, "litellm.model_group": "tiny", "error.type": "InternalServerError"}
    answered = {**V1, "litellm.model_group": "hosted", "gen_ai.usage.output_tokens": 3, "gen_ai.usage.input_tokens": 41}
    request = row(
        [
            server("http"),
            span("bad", failed, parent="http", at=(0.2, 0.4), status=StatusCode.ERROR),
            span("good", answered, parent="http", at=(0.1, 1), status=StatusCode.OK),
        ]
    )
    assert ("tiny", Outcome.OK, True, Outcome.SERVER_ERROR) == (
        *(request.requested_model, request.outcome, request.fallback, request.fallback_after),
    )
