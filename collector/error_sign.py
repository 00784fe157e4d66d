"""Error text, classified in memory and dropped.

Error text can echo a prompt, so what is kept of it is a class, the id of the pattern that matched, and the prompt length
that a refusal names. Order matters: the first pattern that matches wins, and out of memory outranks everything, because
engines wrap it in a generic error.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from collector.request import Outcome


class ErrorSign(NamedTuple):
    """What an error text said. ``pattern`` 0 means that there was text and no pattern knew it."""

    outcome: Outcome
    pattern: int
    attempted_tokens: int | None = None


class _Pattern(NamedTuple):
    id: int
    outcome: Outcome
    expression: re.Pattern[str]


def _pattern(id: int, outcome: Outcome, expression: str) -> _Pattern:
    """A pattern of lower-case text: without IGNORECASE, a search is some ten times as fast."""
    return _Pattern(id, outcome, re.compile(expression.lower()))


_PATTERNS = (
    # Memory. Texts of PyTorch (CUDA, ROCm, CPU), CUDA libraries, JAX, vLLM, SGLang, llama.cpp, Ollama and Kubernetes.
    _pattern(1, Outcome.OOM, r"(cuda|hip|xpu|mps)( backend)? out of memory"),
    _pattern(2, Outcome.OOM, r"OutOfMemoryError"),
    _pattern(3, Outcome.OOM, r"can't allocate memory|cannot allocate memory|std::bad_alloc|MemoryError"),
    _pattern(4, Outcome.OOM, r"cuda error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|hipErrorOutOfMemory|cudaMalloc failed"),
    _pattern(5, Outcome.OOM, r"out of memory even after retracting|(prefill|decode) out of memory|alloc_req_slots runs out"),
    _pattern(6, Outcome.OOM, r"failed to allocate \w* ?(compute )?buffer|OOMKilled"),
    _pattern(
        7, Outcome.OOM, r"resource_?exhausted.{0,80}out of memory|HSA_STATUS_ERROR_OUT_OF_RESOURCES|CUDNN_STATUS_ALLOC_FAILED"
    ),
    _pattern(8, Outcome.OOM, r"no available memory for the cache blocks|not enough memory\. please try|KV cache pool is full"),
    _pattern(
        9,
        Outcome.OOM,
        r"requires more system memory|unable to allocate \w+ buffer|llama runner process has terminated: .{0,80}memory",
    ),
    # What the caller has to mend. A refusal of a long prompt names the length that was tried.
    _pattern(
        20,
        Outcome.VALIDATION,
        r"maximum context length|longer than the maximum model length|context.?(window|length|size).?(has been )?exceeded",
    ),
    _pattern(21, Outcome.VALIDATION, r"max_tokens.{0,40}(too large|must be at least|exceeds)"),
    _pattern(22, Outcome.VALIDATION, r"model `?[^`]{0,200}`? does not exist|model.?not.?found"),
    # vLLM, SGLang, llama.cpp, TGI and TensorRT-LLM, each in its words.
    _pattern(
        23,
        Outcome.VALIDATION,
        r"model's context length is only|longer than the model's context length|"
        r"exceeds? (the available|model's maximum) context|exceed_context_size|"
        r"prompt is too big compared to KV size|must have less than \d+ tokens|"
        r"`inputs` tokens \+ `max_new_tokens` must be|should not exceed max_(input_len|num_tokens)|"
        r"more tokens than the .{0,20}KV cache can hold",
    ),
    # Anthropic, Gemini, xAI, Mistral, Bedrock, OpenAI's Responses API.
    _pattern(
        24,
        Outcome.VALIDATION,
        r"prompt is too long|input is too long|exceed context limit|exceeds the context window|maximum prompt length|"
        r"input token count .{0,20}exceeds|input tokens exceed|maximum number of tokens allowed|"
        r"reduce the length of the (prompt|messages|input)|request_too_large|greater than the context length|"
        r"exceeded model token limit|prompt token count of|maximum allowed input length",
    ),
    _pattern(30, Outcome.CONTENT_FILTER, r"content.?(filter|policy|management policy)"),
    _pattern(
        31, Outcome.CONTENT_FILTER, r"guardrail|flagged as potentially violating|violat\w+ .{0,40}usage polic|safety system"
    ),
    _pattern(40, Outcome.AUTH, r"invalid.?api.?key|incorrect api key|authentication (error|failed)|permission denied"),
    _pattern(
        41,
        Outcome.AUTH,
        r"invalid proxy server token|(key|team|user|project) (is )?not allowed to (access|call)|no api key|missing api key|"
        r"jwt (verification|is missing|is expired|issuer)|rbac: access denied|unauthorized|"
        r"not supported in your (country|region)",
    ),
    # OpenAI's word for what the caller did wrong is also its word for a wrong key.
    _pattern(
        25,
        Outcome.VALIDATION,
        r"invalid_request_error|unsupported (parameter|value)|validation errors? for|extra inputs are not",
    ),
    # Capacity outranks quota: an engine that refuses for lack of room often says 429 as well.
    _pattern(50, Outcome.OVERLOAD, r"overloaded|queue is full|at capacity|maximum pending requests|server busy"),
    _pattern(
        52,
        Outcome.OVERLOAD,
        r"no slot available|server is busy|waiting queue|reset reason: overflow|too many (pending|concurrent|running) requests|"
        r"circuit breaker|no deployments available",
    ),
    _pattern(51, Outcome.RATE_LIMIT, r"rate.?limit|quota|too many requests"),
    _pattern(
        53,
        Outcome.RATE_LIMIT,
        r"budget has been exceeded|exceeded budget|exceededbudget|crossed (tpm|rpm|budget)|max parallel request|"
        r"credit balance is too low|insufficient (credits|balance|funds)|throttl(ed|ing)",
    ),
    _pattern(60, Outcome.TIMEOUT, r"timed? ?out|deadline.?exceeded"),
    _pattern(
        70,
        Outcome.UNAVAILABLE,
        r"EngineDeadError|EngineCore encountered|background loop (has errored|is stopped)|engine loop has died",
    ),
    _pattern(
        71, Outcome.UNAVAILABLE, r"connection (error|refused|reset|aborted)|cannot connect|server disconnected|broken pipe"
    ),
    _pattern(72, Outcome.UNAVAILABLE, r"peer closed connection|incomplete (chunked )?read|no healthy upstream|bad gateway"),
    _pattern(
        73,
        Outcome.UNAVAILABLE,
        r"upstream connect error|reset reason: (connection|remote|local)|no healthy (backend|endpoint|worker)|"
        r"no available workers|socket hang up|ECONNREFUSED|ECONNRESET|EAI_AGAIN|name or service not known|"
        r"response payload is not completed|"
        r"all connection attempts failed|connect call failed",
    ),
    _pattern(74, Outcome.UNAVAILABLE, r"loading model|model is (currently )?loading|service unavailable"),
    _pattern(80, Outcome.CANCELLED, r"client (disconnected|closed)|request (was )?(aborted|cancelled|canceled)"),
    _pattern(
        81,
        Outcome.CANCELLED,
        r"context canceled|downstream (remote )?disconnect|connection closed by client|operation was aborted",
    ),
    _pattern(90, Outcome.SERVER_ERROR, r"internal server error"),
    _pattern(91, Outcome.SERVER_ERROR, r"the server had an error|internal error|llm provider error"),
)

_CODE = re.compile(r"^\s*(?:http )?(?P<alone>[45]\d\d)\s*$|(?:error|status)(?:[ _]code)?\s*[:=]?\s*(?P<ahead>[45]\d\d)\b")
"""An HTTP status that stands alone, or that a client library puts ahead of a body that no pattern knows."""
_CODES = (
    _pattern(110, Outcome.CANCELLED, "499"),
    _pattern(111, Outcome.TIMEOUT, "408|504|524"),
    _pattern(112, Outcome.RATE_LIMIT, "402|429"),
    _pattern(113, Outcome.AUTH, "401|403"),
    _pattern(114, Outcome.OVERLOAD, "503|529"),
    _pattern(115, Outcome.UNAVAILABLE, "502"),
    _pattern(116, Outcome.VALIDATION, "4.."),
    _pattern(117, Outcome.SERVER_ERROR, "5.."),
)

_TOKENS = r"(?P<tokens>\d[\d,]{0,10})"
_ATTEMPTED = tuple(
    re.compile(expression)
    for expression in (
        # The prompt's share ahead of the sum of prompt and answer, where a text says both.
        rf"{_TOKENS} (?:tokens )?(?:in|from) the (?:input messages|input|messages|prompt)",
        rf"your (?:request has|prompt contains|messages resulted in) (?:at least )?{_TOKENS} (?:input )?tokens",
        rf"passed {_TOKENS} input tokens",
        rf"(?<!maximum )(?:prompt|input) \(?(?:length|total length) ?(?:of )?\(?{_TOKENS}\)?",
        rf"the input \({_TOKENS} tokens\)",
        rf"request \({_TOKENS} tokens\) exceeds",
        rf"n_prompt_tokens['\"]?[:=] ?{_TOKENS}",
        rf"input_tokens['\"]?[:=] ?{_TOKENS}",
        rf"prompt is too long: {_TOKENS} tokens",
        rf"exceed context limit: {_TOKENS} \+",
        rf"input token count (?:is )?\(?{_TOKENS}",
        rf"(?:request|prompt) contains {_TOKENS} tokens",
        rf"given: {_TOKENS}",
        rf"\(requested: {_TOKENS}\)",
        rf"prompt token count of {_TOKENS}",
        rf"you requested (?:about )?{_TOKENS} tokens",
    )
)
"""Where a refusal names the length of the prompt [tokens], some with commas between thousands."""

_NO_ERROR = re.compile(r"\s*(?:[123]\d\d|ok|success|true|false|none|null|0|unset)?\s*", re.IGNORECASE)
"""What producers write in the place of an error's text where there is none."""

_LONGEST = 16_384
"""Characters of a text that are looked at: a pattern that is not near the start is a traceback's, and costs time."""


def classify(text: str) -> ErrorSign | None:
    """What an error text says; ``None`` for one that tells of no error."""
    if _NO_ERROR.fullmatch(text):
        return None
    text = text[:_LONGEST].lower()
    for pattern in _PATTERNS:
        if pattern.expression.search(text):
            attempted = _attempted(text) if pattern.outcome is Outcome.VALIDATION else None
            return ErrorSign(pattern.outcome, pattern.id, attempted)
    code = _CODE.search(text)
    if code is not None:
        said = code["alone"] or code["ahead"]
        known = next(pattern for pattern in _CODES if pattern.expression.match(said))
        return ErrorSign(known.outcome, known.id)
    return ErrorSign(Outcome.UNKNOWN, 0)


def _attempted(text: str) -> int | None:
    for expression in _ATTEMPTED:
        match = expression.search(text)
        if match is not None:
            return int(match["tokens"].replace(",", ""))
    return None
