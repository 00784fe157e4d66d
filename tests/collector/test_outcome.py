from __future__ import annotations

import pytest

from collector.error_sign import ErrorSign, classify
from collector.outcome import Ending, bare_class, decide
from collector.request import Outcome
from collector.span import StatusCode


def ending(
    error_type: str | None = None,
    text: str | None = None,
    status: StatusCode = StatusCode.UNSET,
    http_status: int | None = None,
    finish_reason: str | None = None,
    finish_expected: bool = False,
) -> Ending:
    sign = classify(text) if text else None
    return Ending(
        status,
        (error_type,) if error_type else (),
        (sign,) if sign else (),
        http_status,
        finish_reason,
        finish_expected,
    )


@pytest.mark.parametrize(
    ("expected", "end"),
    [
        (Outcome.OK, ending()),
        (Outcome.OK, ending(http_status=200, finish_reason="stop", finish_expected=True)),
        (Outcome.UNKNOWN, ending(finish_expected=True)),
        (Outcome.OOM, ending("openai.InternalServerError", "Error code: 500 - CUDA out of memory. Tried to allocate 2 GiB")),
        (Outcome.OOM, ending("openai.APIError", "HIP out of memory. Tried to allocate")),
        (Outcome.OOM, ending("torch.OutOfMemoryError")),
        (Outcome.TIMEOUT, ending("openai.APITimeoutError", "Request timed out.", StatusCode.ERROR)),
        (Outcome.TIMEOUT, ending("timeout", http_status=504)),
        (Outcome.TIMEOUT, ending("408")),
        (Outcome.TIMEOUT, ending(http_status=504)),
        (Outcome.RATE_LIMIT, ending("openai.RateLimitError", "Rate limit reached for team-a")),
        (Outcome.RATE_LIMIT, ending("rate_limit_exceeded", http_status=429)),
        (Outcome.OVERLOAD, ending("openai.RateLimitError", "The engine is overloaded, please try again later")),
        (Outcome.OVERLOAD, ending(http_status=503)),
        (Outcome.OVERLOAD, ending("openai.InternalServerError", "Error code: 503 - The engine is overloaded / dead")),
        (Outcome.VALIDATION, ending("openai.BadRequestError", "maximum context length is 2048 tokens")),
        (Outcome.VALIDATION, ending("404")),
        (Outcome.VALIDATION, ending("ContextWindowExceededError")),
        (Outcome.AUTH, ending("invalid_api_key", http_status=401)),
        (Outcome.AUTH, ending(http_status=403)),
        (Outcome.CANCELLED, ending("client_disconnected", http_status=200)),
        (Outcome.CANCELLED, ending("asyncio.exceptions.CancelledError")),
        (Outcome.CANCELLED, ending(http_status=200, finish_reason="abort")),
        (Outcome.CONTENT_FILTER, ending(finish_reason="content_filter")),
        (Outcome.UNAVAILABLE, ending("upstream_unavailable", http_status=502)),
        (Outcome.UNAVAILABLE, ending("openai.APIConnectionError", "Connection error.")),
        (Outcome.UNAVAILABLE, ending("500", "EngineCore encountered an issue. See stack trace (above) for the root cause.")),
        (Outcome.SERVER_ERROR, ending("openai.InternalServerError", "something else")),
        (Outcome.SERVER_ERROR, ending(status=StatusCode.ERROR, http_status=200)),
        (Outcome.SERVER_ERROR, ending("SomethingNobodyKnows")),
    ],
)
def test_outcome_is_decided_by_the_first_sign_that_knows(expected: Outcome, end: Ending) -> None:
    assert expected is decide(end)


def test_error_class_loses_its_module_path() -> None:
    assert bare_class("openai.error.RateLimitError") == "RateLimitError"
    assert bare_class("429") == "429"


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (9999, "This model's maximum context length is 2048 tokens. However, you requested 9999 tokens."),
        (2400, "maximum context length is 2048 tokens. However, your request has 2400 input tokens. Please reduce"),
        (None, "maximum context length is 2048 tokens"),
    ],
)
def test_refusal_of_a_long_prompt_names_the_length_that_was_tried(expected: int | None, text: str) -> None:
    sign = classify(text)
    assert sign is not None
    assert (Outcome.VALIDATION, expected) == (sign.outcome, sign.attempted_tokens)


def test_empty_error_text_says_nothing_and_unknown_text_says_that_there_was_text() -> None:
    assert classify("") is None
    assert classify("the cat sat on the mat") == ErrorSign(Outcome.UNKNOWN, 0)


def test_sign_keeps_no_text() -> None:
    assert "secret" not in repr(classify("CUDA out of memory while answering: secret"))
