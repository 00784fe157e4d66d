"""The structural checks of a span, the same for protobuf and JSON. Times, tokens and durations are the normaliser's."""

from __future__ import annotations

from collector.error_sign import ErrorSign, classify
from collector.errors import BodyTooLarge
from collector.request import Reject, RejectReason
from collector.span import SpanKind, StatusCode, Value

LONGEST_TEXT = 4096
"""Characters of one kept attribute, all elements of an array together."""
LONGEST_ARRAY = 128
"""Elements of one kept array."""
MOST_SPANS = 50_000
"""Spans of one body: a hundred times what exporters send. Empty spans are two bytes each, and cost a thousand times that."""
MOST_EVENTS = 128
"""Events of one span that are kept; OpenTelemetry's SDKs record no more by default."""
LONGEST_NAME = 256
"""Characters of an event's or a scope's name."""
LARGEST_INT64 = 2**63 - 1

KINDS = tuple(SpanKind)
STATUS_CODES = tuple(StatusCode)


class MalformedSpan(Exception):
    """A span that is rejected while the rest of its body lands. Caught for each span by the two decoders."""

    def __init__(self, reason: RejectReason, field: str, value: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}")
        self.reject = Reject(reason, field, value, expected)


def check_count(spans: int) -> None:
    """Refuse a body of too many spans.

    :raises BodyTooLarge: naming the limit
    """
    if spans > MOST_SPANS:
        raise BodyTooLarge(f"the body holds {spans} spans: expected at most {MOST_SPANS}")


def check_ids(trace_id: bytes, span_id: bytes, parent_span_id: bytes) -> bytes:
    """Return the parent's id, empty for a root.

    :raises MalformedSpan: for an id that is zero or of the wrong size
    """
    if len(trace_id) != 16 or not any(trace_id):
        raise _bad_id("trace_id", trace_id, "16 bytes, not all zero")
    if len(span_id) != 8 or not any(span_id):
        raise _bad_id("span_id", span_id, "8 bytes, not all zero")
    if not parent_span_id:
        return b""
    if len(parent_span_id) != 8:
        raise _bad_id("parent_span_id", parent_span_id, "8 bytes, or none")
    # Some producers write the id of no parent as zeros.
    return parent_span_id if any(parent_span_id) else b""


def _bad_id(field: str, id: bytes, expected: str) -> MalformedSpan:
    return MalformedSpan(RejectReason.ZERO_ID, field, id[:20].hex() or "empty", expected)


def check_times(start_ns: int, end_ns: int) -> None:
    """Refuse times that no clock can have said.

    :raises MalformedSpan: for a time that is missing or does not fit 64 bits with a sign
    """
    for field, time_ns in (("start_time_unix_nano", start_ns), ("end_time_unix_nano", end_ns)):
        check_time(field, time_ns)
        if time_ns == 0:
            raise MalformedSpan(RejectReason.OUTSIDE_RETENTION, field, "0", "nanoseconds since 1970, not zero")


def check_time(field: str, time_ns: int) -> int:
    """Return the time. Zero passes: some producers do not time their events.

    :raises MalformedSpan: for a time that does not fit 64 bits with a sign
    """
    if time_ns > LARGEST_INT64:
        raise MalformedSpan(RejectReason.IN_THE_FUTURE, field, str(time_ns)[:24], "nanoseconds since 1970, below 2^63")
    return time_ns


def check_text(key: str, text: str) -> str:
    """Return the text.

    :raises MalformedSpan: for a text that is too long, or that Postgres cannot hold; the reject does not quote it
    """
    if len(text) > LONGEST_TEXT:
        raise MalformedSpan(RejectReason.TOO_LARGE, key, f"{len(text)} characters", f"at most {LONGEST_TEXT} characters")
    if "\0" in text:
        raise MalformedSpan(RejectReason.WRONG_TYPE, key, "text with a NUL character", "text without one")
    return text


def check_array(key: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return the array, whose elements were checked one by one.

    :raises MalformedSpan: for too many elements, or too much text in all of them
    """
    if len(values) > LONGEST_ARRAY:
        raise MalformedSpan(RejectReason.TOO_LARGE, key, f"{len(values)} elements", f"at most {LONGEST_ARRAY} elements")
    characters = sum(len(value) for value in values if isinstance(value, str))
    if characters > LONGEST_TEXT:
        raise MalformedSpan(RejectReason.TOO_LARGE, key, f"{characters} characters", f"at most {LONGEST_TEXT} characters")
    return values


def short_name(name: str) -> str:
    """The name of an event or a scope, cut, and as Postgres can hold it."""
    return name[:LONGEST_NAME].replace("\0", "")


def add_sign(sign: ErrorSign | None, text: str) -> ErrorSign | None:
    """What several error texts say together: the first that a known pattern matches wins, else the first."""
    if sign is not None and sign.pattern:
        return sign
    found = classify(text)
    return found if found is not None and (sign is None or found.pattern) else sign
