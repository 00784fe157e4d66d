"""What may survive decoding, and what the receivers and the next stage hand each other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from collector.request import Reject
from collector.span import Span
from collector.token import Principal

_CLASS = re.compile(r"[A-Za-z_][A-Za-z0-9_.:]{0,119}|\d{3}")
"""What the name of an error class looks like, and an HTTP status in its place."""


class AllowList(NamedTuple):
    """The attribute keys that are kept. Everything else is dropped while the body is decoded.

    The text of a key in ``error_texts``, on a span or on a span event, is classified (``collector.error_sign``) and
    dropped, even where another set names the key too. A key in ``error_classes`` is meant to name a class of error; where a
    producer writes text there, it is treated as text, because that can echo a prompt. Of the text of a key in ``documents``
    only the values at those paths are kept (``collector.otlp.document``).
    """

    span: frozenset[str]
    resource: frozenset[str]
    event: frozenset[str]
    error_texts: frozenset[str]
    error_classes: frozenset[str]
    documents: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    def asks(self, key: str) -> bool:
        """Whether the value of a key that is not kept as it is must be looked at."""
        return key in self.error_texts or key in self.error_classes or key in self.documents

    def is_text(self, key: str, value: str) -> bool:
        """Whether a value is error text; ``value`` is empty for one that is no text."""
        return key in self.error_texts or (key in self.error_classes and bool(value) and not _CLASS.fullmatch(value))


class Decoded(NamedTuple):
    """One body: its spans in their order, and one reject for each malformed span."""

    spans: list[Span]
    rejects: list[Reject]


class Receipt(NamedTuple):
    """What the next stage says once everything is committed: the spans that it rejected after decoding."""

    rejected: tuple[Reject, ...]


Ingest = Callable[[Decoded, Principal], Awaitable[Receipt]]
"""The next stage, told who sent it. Returns once everything is committed; raises Overloaded where nothing was taken."""
