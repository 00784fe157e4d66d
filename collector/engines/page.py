"""Which series of a page belong together: a layout and an Engine to a Plan.

A family's value is the sum over the labels that nobody selects by. What an engine says twice, as a total beside its parts or
once for each of its ranks, is counted once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from collector.engines.engine import Engine, Source
from collector.engines.plan import Buckets, Number, Part, Plan
from collector.errors import MalformedExposition
from collector.exposition import Layout, Series
from collector.metrics import Family, Kind

_LONGEST_LABEL = 200
"""Characters of a label that are kept: names live for ever in a dictionary whose index has a limit."""
MOST_ROWS = 512
"""Engines and models of one page: each is a row of every scrape, and a model's name is kept for ever."""
_ROLES = ("prefill", "decode")
_MODEL_LABEL = "model_name"


class _Own(NamedTuple):
    """A series of the engine: its name without prefix, its labels, and its place on the page."""

    name: str
    labels: Mapping[str, str]
    place: int


def make_plan(engine: Engine, layout: Layout) -> Plan | None:
    """How to read an engine's pages; ``None`` where nothing on them is that engine's.

    :raises MalformedExposition: where there are more engines and models on one page than any server has
    """
    named, process = _own(engine, layout.series)
    if not named:
        return None
    parts = _parts(engine, named, process)
    stems = {own.name.removesuffix("_bucket") for own in named + process} | _declared(engine, layout)
    present = {
        family
        for family, sums in engine.sources.items()
        if any(all(not stems.isdisjoint(_spellings(family, source)) for source in added) for added in sums)
    }
    everything = [*named, *process]
    return Plan(
        engine,
        tuple(parts),
        tuple(tuple(own.place for own in everything if own.name == name) for name in engine.starts),
        frozenset(present),
        engine.unknown({own.name for own in named}),
    )


def _own(engine: Engine, series: Sequence[Series]) -> tuple[list[_Own], list[_Own]]:
    """The engine's own series without their prefix, and those of its process."""
    named, process = [], []
    for place, (name, labels) in enumerate(series):
        match = engine.prefix.match(name)
        if match is not None and not labels.get(engine.foreign_label):
            named.append(_Own(name[match.end() :], labels, place))
        elif match is None and engine.process and name.startswith(engine.process):
            process.append(_Own(name, labels, place))
    return named, process


def _declared(engine: Engine, layout: Layout) -> set[str]:
    matches = ((name, engine.prefix.match(name)) for name in layout.declared)
    return {name[match.end() :] for name, match in matches if match is not None}


class _Row(NamedTuple):
    """Labels of an engine and its model, each empty where the page does not say."""

    label: str
    model: str


def _row(engine: Engine, own: _Own) -> _Row:
    return _Row(own.labels.get(engine.engine_label, "")[:_LONGEST_LABEL], own.labels.get(_MODEL_LABEL, "")[:_LONGEST_LABEL])


def _rows(engine: Engine, named: Sequence[_Own]) -> list[_Row]:
    """The engines of a page in the order of their labels; older versions label none. Not every series names its model."""
    models: dict[str, set[str]] = defaultdict(set)
    for own in named:
        row = _row(engine, own)
        models[row.label].add(row.model)
    labels = sorted(label for label in models if label) or [""]
    anywhere = models.get("", set()) - {""}
    return [_Row(label, model) for label in labels for model in sorted(models[label] - {""} or anywhere or {""})]


def _parts(engine: Engine, named: Sequence[_Own], process: Sequence[_Own]) -> list[Part]:
    """Each engine with its series, and last what several engines share, by model where it names one."""
    rows = _rows(engine, named)
    if len(rows) > MOST_ROWS:
        raise MalformedExposition(f"{len(rows)} engines and models on one page, more than {MOST_ROWS}")
    shares: dict[_Row, list[_Own]] = {row: [] for row in rows}
    first: dict[str, _Row] = {"": rows[0] if len(rows) == 1 else _Row("", rows[0].model)}
    for row in rows:
        first.setdefault(row.label, row)
    for own in (*named, *process):
        row = _row(engine, own)
        owner = rows[0] if len(rows) == 1 else row if row.model else first.get(row.label, first[""])
        shares.setdefault(owner, []).append(own)
    return [_part(engine, row, share) for row, share in shares.items()]


def _part(engine: Engine, row: _Row, share: Sequence[_Own]) -> Part:
    by_name: dict[str, list[_Own]] = defaultdict(list)
    for own in share:
        by_name[own.name].append(own)
    numbers, histograms = [], []
    for family in engine.sources:
        if family.kind is Kind.HISTOGRAM:
            buckets = _buckets(engine, family, by_name)
            if buckets is not None:
                histograms.append(buckets)
        else:
            places = _places(engine, family, by_name)
            if places:
                numbers.append(Number(family, places))
    roles = {own.labels.get(engine.role_label, "") for own in share} - {""}
    role = next(iter(roles)) if len(roles) == 1 else ""
    return Part(
        row.label,
        row.model,
        role if role in _ROLES else None,
        _config(engine, by_name),
        tuple(numbers),
        tuple(histograms),
    )


def _config(engine: Engine, by_name: Mapping[str, Sequence[_Own]]) -> dict[str, str]:
    for own in by_name.get(engine.config, ()):
        return {name: value for name, value in own.labels.items() if name not in (engine.engine_label, _MODEL_LABEL)}
    return {}


def _places(engine: Engine, family: Family, by_name: Mapping[str, Sequence[_Own]]) -> tuple[int, ...]:
    """The places whose values make the family's; none where the page does not say it."""
    for added in engine.sources[family]:
        found = [_said(engine, family, source, by_name) for source in added]
        if all(found):
            return tuple(own.place for series in found for own in series)
    return ()


def _said(engine: Engine, family: Family, source: Source, by_name: Mapping[str, Sequence[_Own]]) -> Sequence[_Own]:
    for name in _spellings(family, source):
        found = [own for own in by_name.get(name, ()) if source.selects(own.labels)]
        if found:
            return _counted(engine, found, gauge=family.kind is Kind.GAUGE)
    return ()


def _spellings(family: Family, source: Source) -> tuple[str, ...]:
    """Counters are written with and without ``_total``; a histogram may have it in its name."""
    return (source.name,) if family.kind is Kind.GAUGE else (f"{source.name}_total", source.name)


def _counted(engine: Engine, found: Sequence[_Own], *, gauge: bool) -> Sequence[_Own]:
    """Those of a family's series that are added: no part beside its total, and no second word on the same thing."""
    for label, value in engine.totals.items():
        totals = [own for own in found if own.labels.get(label, "") == value]
        if gauge and totals:
            found = totals
    for label in engine.ranks:
        lowest = min(_rank(own, label) for own in found)
        found = [own for own in found if _rank(own, label) == lowest]
    return found


def _rank(own: _Own, label: str) -> int:
    value = own.labels.get(label, "")
    return int(value) if value.isascii() and value.isdigit() else -1


def _buckets(engine: Engine, family: Family, by_name: Mapping[str, Sequence[_Own]]) -> Buckets | None:
    for (source,) in engine.sources[family]:
        for name in _spellings(family, source):
            buckets = [own for own in by_name.get(f"{name}_bucket", ()) if source.selects(own.labels)]
            if buckets:
                counted = _counted(engine, buckets, gauge=False)
                sums = [own for own in by_name.get(f"{name}_sum", ()) if source.selects(own.labels)]
                places = tuple(own.place for own in _counted(engine, sums, gauge=False)) if sums else ()
                edges = _added(counted)
                return Buckets(family, tuple(edges), tuple(edges.values()), places)
    return None


def _added(buckets: Sequence[_Own]) -> dict[float, tuple[int, ...]]:
    """Places by edge over all series; nothing where the edges differ or make no sense, since such counts do not add up."""
    series: dict[frozenset[tuple[str, str]], dict[float, int]] = defaultdict(dict)
    for own in buckets:
        rest = frozenset(label for label in own.labels.items() if label[0] != "le")
        series[rest][_edge(own)] = own.place
    edges = set(next(iter(series.values())))
    # A NaN among the edges has no place in any order, so sorting is safe only after this look.
    if any(set(counts) != edges for counts in series.values()) or any(map(math.isnan, edges)) or math.inf not in edges:
        return {}
    return {edge: tuple(counts[edge] for counts in series.values()) for edge in sorted(edges)}


def _edge(own: _Own) -> float:
    try:
        return float(own.labels["le"])
    except (KeyError, ValueError):
        return math.nan
