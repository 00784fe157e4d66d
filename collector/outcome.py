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


_CLASSES = (
    (Outcome.OOM, re.compile(r"outofmemory")),
    (Outcome.CANCELLED, re.compile(r"cancel|clientdisconnect|clientclosed|^499$|^generatorexit$|aborterror")),
    (Outcome.TIMEOUT, re.compile(r"timeout|timedout|deadline|^408$|^504$")),
    (Outcome.RATE_LIMIT, re.compile(r"ratelimit|toomanyrequests|quota|^429$")),
    (Outcome.AUTH, re.compile(r"authentication|permissiondenied|unauthorized|forbidden|invalidapikey|^401$|^403$")),
    (Outcome.CONTENT_FILTER, re.compile(r"contentpolicy|contentfilter")),
    (
        Outcome.VALIDATION,
        re.compile(r"badrequest|notfound|unprocessable|contextwindow|contextlength|validation|invalidrequest|^4\d\d$"),
    ),
    (Outcome.OVERLOAD, re.compile(r"overload|serviceunavailable|admission|^503$")),
    (Outcome.UNAVAILABLE, re.compile(r"connection|unavailable|disconnected|remoteprotocol|badgateway|^502$")),
    (Outcome.SERVER_ERROR, re.compile(r"internalserver|enginedead|^5\d\d$")),
)
"""Class names, lower case, without module path and separators."""

_SEPARATOR = re.compile(r"[^a-z0-9]")


def decide(ending: Ending) -> Outcome:
    """The outcome of a call."""
    if any(sign.outcome is Outcome.OOM for sign in ending.signs):
        return Outcome.OOM
    by_class = _first(_of_class(name) for name in ending.error_types)
    if by_class is Outcome.CANCELLED:
        return by_class
    by_text = _first(sign.outcome for sign in ending.signs)
    if by_class is Outcome.RATE_LIMIT and by_text is Outcome.OVERLOAD:
        return Outcome.OVERLOAD
    if by_class in (Outcome.SERVER_ERROR, Outcome.UNAVAILABLE, None) and by_text is not None:
        # A wrapper's class ("InternalServerError", "APIError") says less than the text that it wraps.
        return by_text
    if by_class is not None:
        return by_class
    if ending.http_status is not None and ending.http_status >= 400:
        return _of_class(str(ending.http_status)) or Outcome.UNKNOWN
    if ending.status is StatusCode.ERROR or ending.error_types:
        return Outcome.SERVER_ERROR
    if ending.finish_reason == "content_filter":
        return Outcome.CONTENT_FILTER
    if ending.finish_reason in ("error", "abort"):
        return Outcome.CANCELLED if ending.finish_reason == "abort" else Outcome.SERVER_ERROR
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
