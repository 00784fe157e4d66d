"""How a call ended, decided in one table, in order.

What a producer says of a failure is spread over five places that contradict each other: the class in ``error.type`` (bare,
qualified or a number), the class of an exception event, the error text, the HTTP status and the span status. The first of
them that knows decides, with two exceptions that are ahead of all: out of memory is never a class of its own, only text;
and a client that left makes whatever followed meaningless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from collector.error_sign import ErrorSign
from collector.request import Outcome
from collector.span import StatusCode


class Ending(NamedTuple):
    """Everything a span says about how the call ended."""

    status: StatusCode
    error_types: tuple[str, ...]
    """``error.type``, then the classes of exception events."""
    signs: tuple[ErrorSign, ...]
    """What the error texts said."""
    http_status: int | None = None
    finish_reason: str | None = None
    finish_expected: bool = False
    """Whether this producer states a finish reason for calls like this one."""
    stated: Outcome | None = None
    """What a word of the producer's own says (``Dialect.words``)."""


_CLASSES = (
    (Outcome.OOM, re.compile(r"outofmemory")),
    (Outcome.CANCELLED, re.compile(r"cancel|clientdisconnect|clientclosed|^499$|^generatorexit$|aborterror")),
    (Outcome.TIMEOUT, re.compile(r"timeout|timedout|deadline|^408$|^504$|^522$|^524$")),
    # Engines refuse for lack of room with the class of a quota as well: their text tells.
    (
        Outcome.RATE_LIMIT,
        re.compile(r"ratelimit|toomanyrequests|quota|throttl|budget|resourceexhausted|insufficientbalance|billing|^402$|^429$"),
    ),
    (
        Outcome.AUTH,
        re.compile(
            r"authenticat|unauthenticated|permissiondenied|permissionerror|unauthori[sz]ed|forbidden|accessdenied|"
            r"invalidapikey|^401$|^403$|^407$"
        ),
    ),
    (Outcome.CONTENT_FILTER, re.compile(r"contentpolicy|contentfilter|guardrail|blockedpii|rejectedrequest|^451$")),
    (
        Outcome.VALIDATION,
        re.compile(
            r"badrequest|notfound|unprocessable|contextwindow|contextlength|contextsize|validation|invalidrequest|"
            r"invalidargument|unsupported|requesttoolarge|requestentitytoolarge|conflict|^4\d\d$"
        ),
    ),
    (Outcome.OVERLOAD, re.compile(r"overload|serviceunavailable|admission|queuefull|modelnotready|^503$|^529$")),
    (
        Outcome.UNAVAILABLE,
        re.compile(
            r"connect(?:ion|or|error|refused)|unavailable|disconnected|remoteprotocol|badgateway|(?:read|write|close)error$|"
            r"payloaderror|incompleteread|brokenpipe|enginedead|^502$|^52[0135]$"
        ),
    ),
    (Outcome.SERVER_ERROR, re.compile(r"internalserver|servererror|enginegenerate|^5\d\d$")),
)
"""Class names and codes, lower case, without module path and separators: of the OpenAI and Anthropic SDKs, LiteLLM, vLLM,
SGLang, llama.cpp, httpx, aiohttp, gRPC and Bedrock. 402 is a quota that is used up, 499 nginx's and Envoy's client that closed,
520 to 525 Cloudflare's words for an origin that does not answer, 529 Anthropic's overload."""

_FILTERED = frozenset(
    {"content_filter", "content-filter", "safety", "refusal", "blocklist", "prohibited_content", "recitation"}
)
"""Finish reasons of an answer that a filter stopped, in the words of several providers."""
_SEPARATOR = re.compile(r"[^a-z0-9]")


def decide(ending: Ending) -> Outcome:
    """The outcome of a call."""
    if any(sign.outcome is Outcome.OOM for sign in ending.signs):
        return Outcome.OOM
    by_class = _first(_of_class(name) for name in ending.error_types)
    if Outcome.CANCELLED in (by_class, ending.stated):
        return Outcome.CANCELLED
    by_text = _first(sign.outcome for sign in ending.signs)
    if by_class is Outcome.RATE_LIMIT and by_text is Outcome.OVERLOAD:
        return Outcome.OVERLOAD
    if by_class is Outcome.OVERLOAD and by_text is Outcome.UNAVAILABLE:
        return Outcome.UNAVAILABLE  # a dead engine says 503 as well
    if by_class in (Outcome.SERVER_ERROR, Outcome.UNAVAILABLE, None) and by_text is not None:
        # A wrapper's class ("InternalServerError", "APIError") says less than the text that it wraps.
        return by_text
    if by_class is not None or ending.stated is not None:
        return by_class or ending.stated or Outcome.UNKNOWN
    if ending.http_status is not None and ending.http_status >= 400:
        return _of_class(str(ending.http_status)) or Outcome.UNKNOWN
    if ending.finish_reason == "abort":
        return Outcome.CANCELLED
    if ending.status is StatusCode.ERROR or ending.error_types:
        return Outcome.SERVER_ERROR
    if ending.finish_reason in _FILTERED:
        return Outcome.CONTENT_FILTER
    if ending.finish_reason == "error":
        return Outcome.SERVER_ERROR
    if ending.finish_expected and ending.finish_reason is None:
        return Outcome.UNKNOWN
    return Outcome.OK


def bare_class(name: str) -> str:
    """An error class without its module path: ``openai.RateLimitError`` is ``RateLimitError``."""
    return name.rpartition(".")[2][:80]


def _of_class(name: str) -> Outcome | None:
    bare = _SEPARATOR.sub("", bare_class(name).lower())
    return next((outcome for outcome, expression in _CLASSES if expression.search(bare)), None)


def _first(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    return next((outcome for outcome in outcomes if outcome is not None and outcome is not Outcome.UNKNOWN), None)
