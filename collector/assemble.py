"""Spans of one request into one group: which span is the call, and which only wrap it.

A group is whole inside its body for every dialect that writes one span per call. A framework that wraps a call in a span of
the same kind repeats model and tokens there; the innermost span that carries tokens is the call, the ones around it are
merged into it and give no row, or the call would count twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from collector.dialects import Dialect, recognise
from collector.span import Span


class Group(NamedTuple):
    """One call: the span that tells of it, and the dialect that reads it."""

    span: Span
    dialect: Dialect


class Assembled(NamedTuple):
    """What a body came to. ``len(groups) + merged + ignored`` is the number of its spans."""

    groups: tuple[Group, ...]
    merged: int
    ignored: int


def assemble(spans: Sequence[Span]) -> Assembled:
    """Group the spans of one body."""
    calls = [(span, dialect) for span in spans if (dialect := recognise(span)) is not None]
    wrappers = _wrappers(calls)
    groups = tuple(Group(span, dialect) for span, dialect in calls if (span.trace_id, span.span_id) not in wrappers)
    return Assembled(groups, len(calls) - len(groups), len(spans) - len(calls))


def _wrappers(calls: Iterable[tuple[Span, Dialect]]) -> set[tuple[bytes, bytes]]:
    """Spans whose child, of the same scope and dialect, is the same call told from nearer by."""
    by_id = {(span.trace_id, span.span_id): (span, dialect) for span, dialect in calls}
    found = set()
    for span, dialect in by_id.values():
        above = (span.trace_id, span.parent_span_id)
        parent = by_id.get(above)
        if parent is not None and parent[0].scope == span.scope and parent[1] is dialect and _has_tokens(span, dialect):
            found.add(above)
    return found


def _has_tokens(span: Span, dialect: Dialect) -> bool:
    return any(source.key in span.attributes for source in dialect.fields.get("output_tokens", ()))
