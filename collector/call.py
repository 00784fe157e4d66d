"""One span beside the dialect that reads it: which party saw the call, and what the span says of others of its trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from collector.dialects import Dialect
from collector.request import ObservedBy
from collector.span import Span, StatusCode


class Call(NamedTuple):
    span: Span
    dialect: Dialect

    @property
    def party(self) -> ObservedBy:
        return self.dialect.observed_by(self.span)

    @property
    def failed(self) -> bool:
        span = self.span
        return (
            span.status is StatusCode.ERROR
            or span.error_sign is not None
            or any(key in span.attributes for key in self.dialect.error_types)
            or self.dialect.stated_outcome(span.attributes) is not None
        )

    @property
    def says_how_it_went(self) -> bool:
        """With tokens or with a failure: a span that does neither may only wrap one that does."""
        return self.failed or self.says_tokens

    @property
    def says_tokens(self) -> bool:
        """Whether it states what was used."""
        return any(source.key in self.span.attributes for source in self.dialect.fields.get("output_tokens", ()))

    @property
    def ended_badly(self) -> bool:
        """Of an HTTP request: whether its caller got a failure, by the status of the span or of HTTP."""
        stated = (self.span.attributes.get(source.key) for source in self.dialect.fields.get("http_status", ()))
        code = str(next((value for value in stated if value is not None), ""))
        return self.failed or (code.isdigit() and int(code) >= 400)

    @property
    def request_id(self) -> str | None:
        """What its producer calls the request."""
        ids = (self.span.attributes.get(source.key) for source in self.dialect.fields.get("request_id", ()))
        return next((str(id) for id in ids if id), None)

    @property
    def is_fallback(self) -> bool:
        """Whether it says of itself that an attempt failed before it."""
        said = (self.span.attributes.get(source.key) for source in self.dialect.fields.get("fallback", ()))
        return any(value not in (None, 0, "", "0", "false", "False") for value in said)

    def wraps(self, inner: Call) -> bool:
        """Whether a call inside this one is the same, told from nearer by. Gateways behind each other are two parties."""
        if self.party is not inner.party or self.dialect.enclosed:
            return False
        return self.party is ObservedBy.CLIENT or self.span.scope == inner.span.scope


def attempt_before(call: Call, calls: Iterable[Call]) -> Call | None:
    """The failed attempt that a fallback follows: the last one of its producer under the same parent."""
    earlier = [
        one
        for one in calls
        if one.dialect is call.dialect
        and one.span.parent_span_id == call.span.parent_span_id
        and one.span.start_ns < call.span.start_ns
        and one.failed
    ]
    return max(earlier, key=lambda one: (one.span.end_ns, one.span.span_id), default=None)


def repeated(envelopes: Iterable[Call]) -> set[bytes]:
    """HTTP requests that several proxies on the way saw, all but the longest of each: they share an id."""
    longest: dict[str, Call] = {}
    again = set()
    for one in envelopes:
        if one.request_id is None:
            continue
        other = longest.get(one.request_id)
        if other is None:
            longest[one.request_id] = one
            continue
        longest[one.request_id] = max(one, other, key=_length)
        again.add(min(one, other, key=_length).span.span_id)
    return again


def _length(call: Call) -> tuple[int, bytes]:
    return call.span.end_ns - call.span.start_ns, call.span.span_id
