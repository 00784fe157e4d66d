"""JSON as some producers write it, made readable: two mistakes that would cost a sender its whole body.

Both are looked for only where a body cannot be read, or seems empty, as it is.
"""

from __future__ import annotations

import re

_NAMES = (
    b"resource_spans scope_spans trace_id span_id parent_span_id trace_state start_time_unix_nano end_time_unix_nano "
    b"time_unix_nano string_value bool_value int_value double_value array_value kvlist_value bytes_value "
    b"resource_logs scope_logs log_records observed_time_unix_nano severity_number"
).split()
_SNAKE = re.compile(rb'"(' + b"|".join(_NAMES) + rb')"(\s*:)')
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def with_camel_names(body: bytes) -> bytes:
    """The body with protobuf's own field names, which its JSON mapping lets producers write, as OTLP has them.

    Only OTLP's names are changed, and only where they name a member: inside a text a quote has a backslash before it.
    """
    return _SNAKE.sub(lambda match: b'"' + _camel(match[1]) + b'"' + match[2], body)


def _camel(name: bytes) -> bytes:
    first, *rest = name.split(b"_")
    return first + b"".join(word.capitalize() for word in rest)


def without_half_pairs(body: bytes) -> bytes:
    """The body with a replacement character for each half of a surrogate pair, which is what is left of a text that was cut in
    the middle of an emoji."""
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match["half"] else match[0], body)
