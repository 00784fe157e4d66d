from __future__ import annotations

import pytest

from collector.error_sign import classify
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
    stated: Outcome | None = None,
) -> Ending:
    sign = classify(text) if text else None
    return Ending(
        status,
        (error_type,) if error_type else (),
        (sign,) if sign else (),
        http_status,
        finish_reason,
        finish_expected,
        stated,
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
        (Outcome.UNAVAILABLE, ending("ServiceUnavailableError", "OpenAIException - EngineCore encountered an issue.")),
        (Outcome.SERVER_ERROR, ending("openai.InternalServerError", "something else")),
        (Outcome.SERVER_ERROR, ending(status=StatusCode.ERROR, http_status=200)),
        (Outcome.SERVER_ERROR, ending("SomethingNobodyKnows")),
        (Outcome.CANCELLED, ending(http_status=499)),
        (Outcome.RATE_LIMIT, ending(http_status=402)),
        (Outcome.TIMEOUT, ending(http_status=524)),
        (Outcome.OVERLOAD, ending(http_status=529)),
        (Outcome.UNAVAILABLE, ending(http_status=502)),
        # A word of the producer's own stands between its classes and the HTTP status.
        (Outcome.UNAVAILABLE, ending(http_status=503, stated=Outcome.UNAVAILABLE)),
        (Outcome.CANCELLED, ending(http_status=504, stated=Outcome.CANCELLED)),
        (Outcome.RATE_LIMIT, ending("RateLimitError", stated=Outcome.SERVER_ERROR)),
        (Outcome.TIMEOUT, ending(text="Request timed out.", stated=Outcome.SERVER_ERROR)),
        # A reason to finish that is none
        (Outcome.CANCELLED, ending(status=StatusCode.ERROR, finish_reason="abort")),
        (Outcome.SERVER_ERROR, ending(finish_reason="error", finish_expected=True)),
        (Outcome.CONTENT_FILTER, ending(finish_reason="safety", finish_expected=True)),
        (Outcome.CONTENT_FILTER, ending(finish_reason="refusal", finish_expected=True)),
    ],
)
def test_outcome_is_decided_by_the_first_sign_that_knows(expected: Outcome, end: Ending) -> None:
    assert expected is decide(end)


def test_error_class_loses_its_module_path() -> None:
    assert bare_class("openai.error.RateLimitError") == "RateLimitError"
    assert bare_class("429") == "429"


@pytest.mark.parametrize(
    ("expected", "types"),
    [
        (Outcome.OOM, ("torch.cuda.OutOfMemoryError",)),
        (Outcome.CANCELLED, ("499", "APIUserAbortError", "context.Canceled", "asyncio.CancelledError", "CANCELLED")),
        (
            Outcome.TIMEOUT,
            (
                "litellm.Timeout",
                "httpx.ReadTimeout",
                "DEADLINE_EXCEEDED",
                "timeout_error",
                "524",
                "504",
            ),
        ),
        (
            Outcome.RATE_LIMIT,
            (
                "rate_limit_error",
                "insufficient_quota",
                "ThrottlingException",
                "BudgetExceededError",
                "402",
            ),
        ),
        (
            Outcome.AUTH,
            ("authentication_error", "permission_error", "PermissionDeniedError", "UNAUTHENTICATED", "AccessDeniedException"),
        ),
        (Outcome.CONTENT_FILTER, ("litellm.ContentPolicyViolationError", "GuardrailRaisedException", "content_filter")),
        (
            Outcome.VALIDATION,
            (
                *("invalid_request_error", "context_length_exceeded", "exceed_context_size_error", "not_found_error", "413"),
                *("request_too_large", "INVALID_ARGUMENT", "UnsupportedParamsError", "VLLMValidationError", "model_not_found"),
            ),
        ),
        (Outcome.OVERLOAD, ("overloaded_error", "litellm.ServiceUnavailableError", "529", "503", "ModelNotReadyException")),
        (
            Outcome.UNAVAILABLE,
            (
                *("openai.APIConnectionError", "aiohttp.ClientConnectorError", "httpx.ReadError", "httpx.RemoteProtocolError"),
                *(
                    "UNAVAILABLE",
                    "vllm.v1.engine.exceptions.EngineDeadError",
                    "ClientPayloadError",
                    "502",
                    "521",
                ),
            ),
        ),
        (Outcome.SERVER_ERROR, ("server_error", "InternalServerError", "EngineGenerateError", "api_error", "500")),
    ],
)
def test_class_names_of_libraries_engines_and_providers(expected: Outcome, types: tuple[str, ...]) -> None:
    assert dict.fromkeys(types, expected) == {type: decide(ending(type)) for type in types}


def test_sign_keeps_no_text() -> None:
    assert "secret" not in repr(classify("CUDA out of memory while answering: secret"))
