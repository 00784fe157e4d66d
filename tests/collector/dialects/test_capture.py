"""Captures of client libraries that ran for real, in front of a server with made-up answers: 40 tokens in, 7 cached, 19 out."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.assemble import assemble
from collector.ingest import allow_list
from collector.normalise import normalise
from collector.otlp.otlp_json import decode_json
from collector.request import Outcome, Request
from tests.collector.dialects.sent import NOW, POLICY

SPANS = Path(__file__).parents[2] / "data" / "spans"


def captured(name: str) -> list[Request]:
    allow = allow_list(POLICY)
    lines = (SPANS / f"{name}.otlp.jsonl").read_bytes().splitlines()
    spans = [span for line in lines for span in decode_json(line, allow).spans]
    found = [normalise(group, POLICY, NOW) for group in assemble(spans).groups]
    assert all(isinstance(one, Request) for one in found), found
    return sorted((one for one in found if isinstance(one, Request)), key=lambda one: one.started_at)


@pytest.mark.parametrize(
    ("name", "outcomes", "reasoning"),
    [
        ("langfuse", [Outcome.OK, Outcome.OK, Outcome.RATE_LIMIT, Outcome.OOM], 3),
        ("langsmith", [Outcome.OK, Outcome.OK, Outcome.RATE_LIMIT, Outcome.OOM], 3),
        ("pydantic-ai", [Outcome.OK, Outcome.RATE_LIMIT, Outcome.OOM], 3),
        ("langchain", [Outcome.OK, Outcome.RATE_LIMIT, Outcome.OOM, Outcome.OK], None),
    ],
)
def test_calls_of_a_library_that_ran_are_what_its_server_answered(
    name: str, outcomes: list[Outcome], reasoning: int | None
) -> None:
    found = captured(name)
    assert outcomes == [one.outcome for one in found]
    for one in found:
        counts = (one.input_tokens, one.cached_tokens, one.output_tokens, one.reasoning_tokens)
        assert ((40, 7, 19, reasoning) if one.outcome is Outcome.OK else (None,) * 4) == counts


def test_stream_of_langfuse_knows_its_first_token() -> None:
    """The server waited for 0.2 s ahead of it."""
    (stream,) = [one for one in captured("langfuse") if one.stream]
    assert stream.ttft_seconds is not None
    assert stream.latency_seconds is not None
    assert 0.2 <= stream.ttft_seconds <= stream.latency_seconds


def test_provider_of_langsmith_is_who_answered_and_not_the_framework() -> None:
    assert {"openai"} == {one.provider for one in captured("langsmith")}
