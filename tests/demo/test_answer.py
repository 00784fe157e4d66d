from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo.answer import Answer, Event, Failure, split_events
from tests.demo.upstream import chunks, sse


def _answers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    keys = (
        "id",
        "model",
        "usage",
        "choices",
        "prompt_tokens",
        "prompt_tokens_details",
        "finish_reason",
        "index",
        "error",
        "code",
    )
    return st.dictionaries(st.sampled_from(keys), inner)


STREAM = b"".join(sse(chunk) for chunk in chunks()) + b"data: [DONE]\n\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=20), st.booleans())
def test_events_are_the_same_wherever_the_network_cuts_the_stream(cuts: list[int], carriage_returns: bool) -> None:
    stream = STREAM.replace(b"\n", b"\r\n") if carriage_returns else STREAM
    edges = [0, *sorted(cuts), len(stream)]
    answer, kinds, rest = Answer(), [], b""
    for start, end in pairwise(edges):
        events, rest = split_events(rest + stream[start:end])
        kinds += [answer.read_event(event) for event in events]
    assert b"" == rest
    assert [Event.CHUNK, Event.CHUNK, Event.CHUNK, Event.USAGE, Event.DONE] == kinds
    assert (300, 2, 256, {0: "length"}) == (
        answer.input_tokens,
        answer.output_tokens,
        answer.cached_tokens,
        answer.finish_reasons,
    )
    assert answer.done


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        ({"error": {"message": "broken", "code": 503}}, Failure(503, "broken")),
        ({"error": "broken"}, Failure(None, "broken")),
        ({"object": "error", "message": "broken", "code": 400}, Failure(400, "broken")),
        ({"error": {"type": "InternalServerError"}}, Failure(None, "InternalServerError")),
        ({"choices": [], "error": None}, None),
    ],
)
def test_error_is_found_in_every_shape(content: dict[str, object], failure: Failure | None) -> None:
    answer = Answer()
    answer.read_body(json.dumps(content).encode())
    assert failure == answer.failure


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | _answers(inner)))
@example({"choices": [{"index": {}, "finish_reason": "stop"}]})
@example(b"[" * 100_000)
def test_body_of_any_shape_is_read_without_an_error(content: object) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    Answer().read_body(body)
    Answer().read_event(b"data: " + body)
