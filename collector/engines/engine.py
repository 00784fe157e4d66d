"""An Engine: how one program's page is read, as values. What a program calls a metric is in its own file beside this one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.metrics import EngineName, Family

HEALTH_TIMEOUT_SECONDS = 3.0

_SOURCE = re.compile(r'(?P<name>[a-zA-Z0-9_:]+)(\{(?P<label>[a-z_]+)=(?P<pattern>~?)"(?P<value>[^"]*)"\})?')
_SUFFIX = re.compile(r"_(total|created|bucket|count|sum|gcount|gsum)$")


class Source(NamedTuple):
    """Where an engine says it: a metric name without prefix and suffix, and the label value that selects the series."""

    name: str
    label: str = ""
    value: str = ""
    """The label's value; an expression for the whole of it where ``pattern`` is set."""
    pattern: bool = False

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of this name is meant."""
        if not self.label:
            return True
        value = labels.get(self.label, "")
        return re.fullmatch(self.value, value) is not None if self.pattern else value == self.value


Sum = tuple[Source, ...]
"""Sources that mean something only together: each has to be there, and they are added."""


def sources(names: Mapping[Family, Sequence[str]]) -> dict[Family, tuple[Sum, ...]]:
    """An engine's names as sources: of each family one or several, the newest first, of which the first that is present holds.

    A name is written without the engine's prefix and without a counter's ``_total``. ``NAME{label="value"}`` selects one series
    of a family that is split by that label, ``NAME{label=~"expression"}`` those that match, and ``A+B`` adds.

    :raises ValueError: for a name that is nothing of that
    """
    return {family: tuple(map(_sum, (own,) if isinstance(own, str) else own)) for family, own in names.items()}


def _sum(text: str) -> Sum:
    return tuple(map(_source, text.split("+")))


def _source(text: str) -> Source:
    match = _SOURCE.fullmatch(text)
    if match is None:
        raise ValueError(f'metric source {text!r} is not NAME or NAME{{label="value"}}')
    return Source(match["name"], match["label"] or "", match["value"] or "", bool(match["pattern"]))


class Question(NamedTuple):
    """Where a program says something in JSON: the path, and the keys on the way to it."""

    path: str
    keys: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Engine:
    """One program: how its series are recognised, told apart and added up."""

    name: EngineName
    prefix: re.Pattern[str]
    """How its series begin. Other series on its page belong to whatever else writes there."""
    sources: Mapping[Family, tuple[Sum, ...]]
    """Where it says what is kept."""
    not_kept: frozenset[str]
    """What it also says: known, and left out on purpose. Without prefix and suffix."""
    process: tuple[str, ...] = ()
    """How names without the prefix begin that are kept too."""
    foreign_label: str = ""
    """A label that another program gives to series of its own under the same prefix."""
    engine_label: str = "engine"
    """The label that tells the engines of one page apart."""
    role_label: str = ""
    """The label that says whether it does prefill or decode alone."""
    totals: Mapping[str, str] = field(default_factory=dict)
    """Labels of gauges of which one value stands for all the others together."""
    ranks: tuple[str, ...] = ()
    """Labels that number the parts of one engine, each of which says the same: the lowest counts."""
    starts: tuple[str, ...] = ()
    """Names of series that hold the start of the process, as a Unix time."""
    health_path: str = "/health"
    health_timeout_seconds: float = HEALTH_TIMEOUT_SECONDS
    """How long a health check may take of an engine that works."""
    config: str = ""
    """The name of the series whose labels say what it is configured with."""
    version: tuple[Question, ...] = ()
    """Where it says its version; the first that answers holds."""
    model: tuple[Question, ...] = ()
    """Where it says its model, for pages that do not."""

    def unknown(self, names: Set[str]) -> tuple[str, ...]:
        """Those of its names, without prefix, that are neither read nor left out on purpose; without suffix."""
        known = self.not_kept | {source.name for sums in self.sources.values() for added in sums for source in added}
        stems = {name: _SUFFIX.sub("", name) for name in names}
        return tuple(sorted({stem for name, stem in stems.items() if known.isdisjoint((name, stem, _SUFFIX.sub("", stem)))}))
