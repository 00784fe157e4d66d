"""The Dialect: one producer's attribute names, units and failure signs, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from collector.request import ObservedBy, Operation, TokenProvenance
from collector.span import Span


class Source(NamedTuple):
    """Where a field is read: an attribute key, and what its value is multiplied by to give our unit."""

    key: str
    scale: float = 1.0


def one_of(*keys: str, scale: float = 1.0) -> tuple[Source, ...]:
    """Sources of one field, the preferred one first: the first that is present wins, they are never summed."""
    return tuple(Source(key, scale) for key in keys)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How to read one producer's spans. ``fields`` maps a field of Request to its sources.

    ``recognises`` goes by scope and keys, never by the span's name or service.name, which users choose.
    ``observed_by`` says which party the span is the view of. ``finish_expected`` says whether a call without a finish
    reason is suspect.
    """

    name: str
    recognises: Callable[[Span], bool]
    observed_by: Callable[[Span], ObservedBy]
    fields: Mapping[str, tuple[Source, ...]]
    provenance: TokenProvenance = TokenProvenance.REPORTED
    operation: Operation = Operation.UNKNOWN
    """What was asked for, where no attribute says so."""
    finish_expected: bool = False
    error_types: tuple[str, ...] = ("error.type",)
    error_texts: frozenset[str] = field(default=frozenset())
    """Attributes that hold error text: classified while decoding, and dropped."""

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every attribute key that this dialect reads."""
        return frozenset(source.key for sources in self.fields.values() for source in sources) | frozenset(self.error_types)
