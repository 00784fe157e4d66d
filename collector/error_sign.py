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
    return _Pattern(id, outcome, re.compile(expression, re.IGNORECASE))


_PATTERNS = (
    # Memory. Texts of PyTorch (CUDA, ROCm, CPU), CUDA libraries, SGLang, llama.cpp and Kubernetes.
    _pattern(1, Outcome.OOM, r"(cuda|hip|xpu|mps)( backend)? out of memory"),
    _pattern(2, Outcome.OOM, r"OutOfMemoryError"),
    _pattern(3, Outcome.OOM, r"can't allocate memory|cannot allocate memory|std::bad_alloc|\bMemoryError\b"),
    _pattern(4, Outcome.OOM, r"cuda error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|hipErrorOutOfMemory|cudaMalloc failed"),
    _pattern(5, Outcome.OOM, r"out of memory even after retracting|(prefill|decode) out of memory|alloc_req_slots runs out"),
    _pattern(6, Outcome.OOM, r"failed to allocate \w* ?(compute )?buffer|OOMKilled"),
    # What the caller has to mend. A refusal of a long prompt names the length that was tried.
    _pattern(
        20,
        Outcome.VALIDATION,
        r"maximum context length|longer than the maximum model length|context.?(window|length).?exceeded",
    ),
    _pattern(21, Outcome.VALIDATION, r"max_tokens.{0,40}(too large|must be at least|exceeds)"),
    _pattern(22, Outcome.VALIDATION, r"model `?[^`]{0,200}`? does not exist|model.?not.?found"),
    _pattern(30, Outcome.CONTENT_FILTER, r"content.?(filter|policy|management policy)"),
    _pattern(40, Outcome.AUTH, r"invalid.?api.?key|incorrect api key|authentication (error|failed)|permission denied"),
    # Capacity outranks quota: an engine that refuses for lack of room often says 429 as well.
    _pattern(50, Outcome.OVERLOAD, r"overloaded|queue is full|at capacity|maximum pending requests|server busy"),
    _pattern(51, Outcome.RATE_LIMIT, r"rate.?limit|quota|too many requests"),
    _pattern(60, Outcome.TIMEOUT, r"timed? ?out|deadline.?exceeded"),
    _pattern(70, Outcome.UNAVAILABLE, r"EngineDeadError|EngineCore encountered"),
    _pattern(
        71, Outcome.UNAVAILABLE, r"connection (error|refused|reset|aborted)|cannot connect|server disconnected|broken pipe"
    ),
    _pattern(72, Outcome.UNAVAILABLE, r"peer closed connection|incomplete (chunked )?read|no healthy upstream|bad gateway"),
    _pattern(80, Outcome.CANCELLED, r"client (disconnected|closed)|request (was )?(aborted|cancelled|canceled)"),
    _pattern(90, Outcome.SERVER_ERROR, r"internal server error"),
)

_ATTEMPTED = tuple(
    re.compile(expression, re.IGNORECASE)
    for expression in (
        r"you requested (?P<tokens>\d{1,9}) tokens",
        r"your (?:request has|prompt contains|messages resulted in) (?:at least )?(?P<tokens>\d{1,9}) (?:input )?tokens",
        r"(?:prompt|input) \(?(?:length|total length) ?(?:of )?(?P<tokens>\d{1,9})\)?",
        r"passed (?P<tokens>\d{1,9}) input tokens",
    )
)

_LONGEST = 16_384
"""Characters of a text that are looked at: a pattern that is not near the start is a traceback's, and costs time."""


def classify(text: str) -> ErrorSign | None:
    """What an error text says; ``None`` for an empty one."""
    if not text:
        return None
    text = text[:_LONGEST]
    for pattern in _PATTERNS:
        if pattern.expression.search(text):
            attempted = _attempted(text) if pattern.outcome is Outcome.VALIDATION else None
            return ErrorSign(pattern.outcome, pattern.id, attempted)
    return ErrorSign(Outcome.UNKNOWN, 0)


def _attempted(text: str) -> int | None:
    for expression in _ATTEMPTED:
        match = expression.search(text)
        if match is not None:
            return int(match["tokens"])
    return None
