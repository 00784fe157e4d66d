"""Error texts as engines, gateways and client libraries write them, and what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.error_sign import ErrorSign, classify
from collector.request import Outcome

LONG = [
    # vLLM, oldest first
    (
        1500,
        "The decoder prompt (length 1500) is longer than the maximum model length of 1024.",
    ),
    (
        2000,
        "This model's maximum context length is 2048 tokens. However, you requested 2100 tokens (2000 in the messages,"
        " 100 in the completion). Please reduce the length of the messages or completion.",
    ),
    (
        2400,
        "This model's maximum context length is 2048 tokens. However, your request has 2400 input tokens.",
    ),
    (
        100,
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 2048 tokens and"
        " your request has 100 input tokens (5000 > 2048 - 100).",
    ),
    (
        3000,
        "You passed 3000 input tokens and requested 100 output tokens. However, the model's context length is only 2048 tokens,"
        " resulting in a maximum input length of 1948 tokens.",
    ),
    # SGLang
    (691793, "The input (691,793 tokens) is longer than the model's context length (540000 tokens)."),
    (
        7897,
        "Requested token count exceeds the model's maximum context length of 64000 tokens. You requested a total of 71897"
        " tokens: 7897 tokens from the input messages and 64000 tokens for the completion.",
    ),
    (265330, "Input length (265330) exceeds model's maximum context length (262144)."),
    (10009, "Request requires more tokens than the thinker KV cache can hold (input_tokens=10009, max_new_tokens=16)"),
    # llama.cpp, older and newer
    (None, "the request exceeds the available context size, try increasing it"),
    (9000, "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it"),
    (9000, '{"error":{"code":400,"type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":8192}}'),
    (None, "Context size has been exceeded."),
    (None, "input prompt is too big compared to KV size. Please try increasing KV size."),
    # TGI, TensorRT-LLM, Ollama
    (1200, "Input validation error: `inputs` must have less than 1000 tokens. Given: 1200"),
    (1500, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1500 `inputs` tokens and 1000"),
    (5000, "Prompt length (5000) should not exceed max_input_len (4096)"),
    (None, "input length exceeds maximum context length"),
    # OpenAI, and whoever speaks like it
    (9000, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
    (9000, "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens"),
    (300000, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."),
    (None, "Your input exceeds the context window of this model. Please adjust your input and try again."),
    (537812, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
    # Anthropic, Gemini, Mistral, Bedrock
    (213462, "prompt is too long: 213462 tokens > 200000 maximum"),
    (
        199000,
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
    ),
    (1196265, "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."),
    (5000, "Prompt contains 5000 tokens and 0 draft tokens, too large for model with 4096 maximum context length"),
    (None, "Input is too long for requested model."),
    # OpenRouter, Kimi, Copilot
    (300000, "Input length 300000 exceeds the maximum allowed input length of 262,144 tokens."),
    (300000, "Your request exceeded model token limit: 262144 (requested: 300000)"),
    (130000, "prompt token count of 130000 exceeds the limit of 128000"),
    # LiteLLM wraps what the provider said
    (
        9999,
        "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException - This"
        " model's maximum context length is 2048 tokens. However, you requested 9999 tokens.",
    ),
]


@pytest.mark.parametrize(("tokens", "text"), LONG)
def test_refusal_of_a_long_prompt_names_the_length_that_was_tried(tokens: int | None, text: str) -> None:
    sign = classify(text)
    assert sign is not None
    assert (Outcome.VALIDATION, tokens) == (sign.outcome, sign.attempted_tokens)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome.OOM, "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB"),
        (Outcome.OOM, "torch.OutOfMemoryError: HIP out of memory"),
        (Outcome.OOM, "Prefill out of memory. Try to lower your batch size."),
        (Outcome.OOM, "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"),
        (
            Outcome.OOM,
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.",
        ),
        (Outcome.OOM, "model requires more system memory (8.4 GiB) than is available (5.1 GiB)"),
        (Outcome.OOM, "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"),
        (Outcome.VALIDATION, "The model `gpt-9` does not exist."),
        (Outcome.VALIDATION, "litellm.BadRequestError: Invalid model name passed in model=x. model not found"),
        (
            Outcome.CONTENT_FILTER,
            "The prompt triggered Azure OpenAI's content management policy.",
        ),
        (Outcome.CONTENT_FILTER, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
        (Outcome.AUTH, "Incorrect API key provided: sk-…"),
        (Outcome.AUTH, "Authentication Error, Invalid proxy server token passed"),
        (Outcome.AUTH, "key not allowed to access model. This key can only access models=['a']"),
        (Outcome.AUTH, "RBAC: access denied"),
        (Outcome.OVERLOAD, "Overloaded"),
        (Outcome.OVERLOAD, "The request queue is full."),
        (Outcome.OVERLOAD, "no slot available"),
        (Outcome.OVERLOAD, "upstream connect error or disconnect/reset before headers. reset reason: overflow"),
        (Outcome.OVERLOAD, "No deployments available for selected model, Try again in 60 seconds."),
        (Outcome.RATE_LIMIT, "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM)"),
        (Outcome.RATE_LIMIT, "You exceeded your current quota, please check your plan and billing details."),
        (Outcome.RATE_LIMIT, "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0"),
        (Outcome.RATE_LIMIT, "Your credit balance is too low to access the Anthropic API."),
        (Outcome.RATE_LIMIT, "Max parallel request limit reached"),
        (Outcome.TIMEOUT, "Request timed out."),
        (Outcome.TIMEOUT, "upstream request timeout"),
        (Outcome.TIMEOUT, "upstream connect error or disconnect/reset before headers. reset reason: connection timeout"),
        (Outcome.TIMEOUT, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
        (Outcome.UNAVAILABLE, "EngineCore encountered an issue. See stack trace (above) for the root cause."),
        (Outcome.UNAVAILABLE, "Background loop has errored already."),
        (Outcome.UNAVAILABLE, "no healthy upstream"),
        (Outcome.UNAVAILABLE, "upstream connect error or disconnect/reset before headers. reset reason: connection failure"),
        (Outcome.UNAVAILABLE, "No available workers"),
        (Outcome.UNAVAILABLE, "peer closed connection without sending complete message body (incomplete chunked read)"),
        (Outcome.UNAVAILABLE, "Loading model"),
        (Outcome.UNAVAILABLE, "Response payload is not completed"),
        (Outcome.CANCELLED, "Client disconnected"),
        (Outcome.CANCELLED, "context canceled"),
        (Outcome.CANCELLED, "Request was aborted."),
        (Outcome.CANCELLED, "downstream remote disconnect"),
        (Outcome.SERVER_ERROR, "The server had an error while processing your request. Sorry about that!"),
        # What a client library puts ahead of a body that nobody knows, and a code alone
        (Outcome.RATE_LIMIT, "Error code: 429 - {'error': {'message': 'slow down'}}"),
        (Outcome.OVERLOAD, "Error code: 503 - {'error': {'message': 'come back later'}}"),
        (Outcome.SERVER_ERROR, "Error code: 500"),
        (Outcome.CANCELLED, "499"),
        (Outcome.OVERLOAD, "529"),
        (Outcome.TIMEOUT, "504"),
        (Outcome.AUTH, "401"),
        (
            Outcome.AUTH,
            "Error code: 401 - {'error': {'message': 'Incorrect API key provided: sk-1', 'type': 'invalid_request_error'}}",
        ),
        (Outcome.VALIDATION, "422"),
    ],
)
def test_text_tells_what_went_wrong(outcome: Outcome, text: str) -> None:
    sign = classify(text)
    assert sign is not None
    assert outcome is sign.outcome
    assert sign.pattern > 0


@pytest.mark.parametrize("text", ["", " ", "200", "OK", "ok", "none", "false", "null", "0"])
def test_word_for_no_error_is_none(text: str) -> None:
    assert classify(text) is None


def test_unknown_text_says_that_there_was_text() -> None:
    assert ErrorSign(Outcome.UNKNOWN, 0) == classify("the cat sat on the mat")


@given(st.text(max_size=2000))
def test_no_text_is_kept_and_none_is_too_odd(text: str) -> None:
    sign = classify(text)
    assert sign is None or (sign.pattern >= 0 and (sign.attempted_tokens is None or sign.attempted_tokens >= 0))
