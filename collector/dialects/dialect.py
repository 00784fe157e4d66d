"""The Dialect: one producer's attribute names, units and failure signs, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property, lru_cache
from typing import NamedTuple

from collector.request import ObservedBy, Operation, Outcome, TokenProvenance
from collector.span import Attributes, Span


class Role(Enum):
    """What a span is to its request."""

    CALL = auto()
    """Tells of one call of a model: the request itself, or one attempt of it."""
    ENVELOPE = auto()
    """The HTTP request around the calls, as its sender saw it. Alone it is a request of which nobody said more."""
    PART = auto()
    """Adds to a call and is never a request of its own."""
    NOTHING = auto()
    """Tells of no call, or repeats what another span tells: known, so that no later row of the table takes it for one."""


class Source(NamedTuple):
    """Where a field is read: an attribute key, and what its value is multiplied by to give our unit.

    ``document#path`` is a value inside an attribute that holds a document (``Dialect.documents``).
    """

    key: str
    scale: float = 1.0


def one_of(*keys: str, scale: float = 1.0) -> tuple[Source, ...]:
    """Sources of one field, the preferred one first: the first that is present wins, they are never summed."""
    return tuple(Source(key, scale) for key in keys)


def never(span: Span) -> bool:
    """Of no span."""
    return False


def always(span: Span) -> bool:
    """Of every span."""
    return True


def unstated(span: Span) -> bool | None:
    """Nothing."""
    return None


def of(party: ObservedBy) -> Callable[[Span], ObservedBy]:
    """The party of every span of a dialect."""
    return lambda span: party


@dataclass(frozen=True, kw_only=True, eq=False)
class Dialect:
    """How to read one producer's spans. ``fields`` maps a field of Request to its sources.

    A span is of the dialect when its scope is one of ``scopes`` or it has one of the keys ``marks``, and ``recognises`` says
    so too; never by the span's name or service.name, which users choose. Besides fields of Request, ``fields`` may name
    ``server_address``, ``server_port`` and ``server_url`` (the replica), ``path`` (of the HTTP request), ``end_user`` and
    ``session`` (kept as keyed hashes only), and ``gateway_cache_key`` (present only where the gateway answered from its cache).
    """

    name: str
    title: str
    """Who writes it, for people."""
    scopes: tuple[str, ...] = ()
    """Names of instrumentation scopes; a trailing ``*`` stands for the rest of the name."""
    marks: tuple[str, ...] = ()
    """Attributes of which one is enough to look closer."""
    recognises: Callable[[Span], bool] = always
    """What must be so besides scope and marks."""
    besides: str = ""
    """The same in words, for people."""
    observed_by: Callable[[Span], ObservedBy]
    """Which party the span is the view of."""
    fields: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    fingerprint: tuple[str, ...] = ()
    """Attributes that predicates look at, besides those of ``fields`` and ``marks``."""
    role: Role = Role.CALL
    stands_alone: Callable[[Span], bool] = always
    """Of an envelope: whether it is a request where no call is inside it."""
    enclosed: bool = False
    """Whether its calls happen inside an HTTP request of the same gateway, which is then the request; several calls inside
    one are attempts. Such a call waits for the envelope."""
    secondary: bool = False
    """Whether it only repeats a call of which another span of the same producer tells, unless that got lost."""
    provenance: TokenProvenance = TokenProvenance.REPORTED
    estimates: Callable[[Span], bool] = never
    """Whether this span's counts are the producer's own estimate."""
    synthetic: Callable[[Span], bool] = never
    """Whether this span is a health check or a probe."""
    operation: Operation = Operation.UNKNOWN
    """What was asked for, where no attribute says so."""
    operations: Mapping[str, Operation] = field(default_factory=dict)
    """Its own words for what was asked for."""
    streams: Callable[[Span], bool | None] = unstated
    """Whether the call is a stream, where no attribute says so."""
    finish_expected: Callable[[Span], bool] = never
    """Whether a call without a finish reason is suspect."""
    explains: bool = False
    """Of a part: whether its failure is the failure of the call that it belongs to, which does not say so itself."""
    awaits: Callable[[Span], bool] = never
    """Whether a part that explains this span is still to come where it is not there."""
    caller_chosen: bool = False
    """Whether callers choose attribute keys: then only names that the operator added are looked for among them."""
    absent: frozenset[str] = frozenset()
    """Values that stand for nothing."""
    words: Mapping[str, Mapping[str, Outcome]] = field(default_factory=dict)
    """Attributes whose words tell the outcome, the clearest word first. A text may hold several, with commas between."""
    abandoned: Mapping[str, str] = field(default_factory=dict)
    """Attributes and the word in them that stands, where no failure is told, for an answer that its caller left."""
    error_types: tuple[str, ...] = ("error.type",)
    error_texts: frozenset[str] = field(default=frozenset())
    """Attributes that hold error text: classified while decoding, and dropped."""
    documents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Attributes that hold JSON, or the text of a Python object, and the paths in it that are kept; the rest is dropped while
    decoding, because it can hold a prompt."""
    first_token_events: frozenset[str] = frozenset()
    """Span events of which the first marks the first token."""
    first_token_times: tuple[str, ...] = ()
    """Attributes that hold the time of the first token, ISO 8601."""
    event_fields: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    """Fields that stand on span events: the last event that has one wins."""
    unknown: tuple[str, ...] = ()
    """What this producer cannot tell, for people."""

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every attribute key that this dialect reads, without those inside documents."""
        return (
            frozenset(source.key for sources in self.fields.values() for source in sources if "#" not in source.key)
            | frozenset(self.error_types)
            | frozenset(self.first_token_times)
            | frozenset(self.fingerprint)
            | frozenset(self.marks)
            | frozenset(self.words)
        )

    def may_be(self, scope: str, keys: frozenset[str]) -> bool:
        """Whether a span of that scope with those attributes has to be looked at."""
        return any(key in keys for key in self.marks) or any(
            scope.startswith(name[:-1]) if name.endswith("*") else scope == name for name in self.scopes
        )

    def stated_outcome(self, attributes: Attributes) -> Outcome | None:
        """What the producer's own words say of the outcome."""
        for key, outcomes in self.words.items():
            value = attributes.get(key)
            if isinstance(value, str) and value:
                said = {word.strip().lower() for word in value.split(",")}
                found = next((outcome for word, outcome in outcomes.items() if word.lower() in said), None)
                if found is not None:
                    return found
        return Outcome.CANCELLED if self._is_abandoned(attributes) else None

    def _is_abandoned(self, attributes: Attributes) -> bool:
        if any(key in attributes for key in self.error_types):
            return False
        values = ((attributes.get(key), word) for key, word in self.abandoned.items())
        return any(word in value if isinstance(value, tuple) else word == value for value, word in values)

    @cached_property
    def all_fields(self) -> Mapping[str, tuple[Source, ...]]:
        """Where each field is read, on the span and on its events."""
        return {**self.fields, **self.event_fields}

    @cached_property
    def event_keys(self) -> frozenset[str]:
        """Every attribute key that it reads on span events."""
        return frozenset(source.key for sources in self.event_fields.values() for source in sources)


@lru_cache(maxsize=4096)
def located(dialect: Dialect, keys: frozenset[str]) -> Mapping[str, tuple[Source, ...]]:
    """Where each field is read on a span with those attributes. Producers have few layouts, and a dialect many fields."""
    found = {field: tuple(one for one in sources if one.key in keys) for field, sources in dialect.all_fields.items()}
    return {field: sources for field, sources in found.items() if sources}
