"""vLLM's /metrics: one page per API server, one engine per ``engine`` and ``model_name`` label.

What carries no engine label, the process and admission, goes onto the row of the only engine, and with several engines onto a
row of its own, whose engine is "".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from collector.engines.page import Page
from collector.metrics import FAMILIES
from collector.sample import Sample, Snapshot

_PREFIX = re.compile(r"(ray_vllm[:_]|kserve_vllm[:_]|vllm:)")
_PROCESS = ("process_", "http_")
"""Names without a prefix that are kept. Others belong to whatever else writes onto the page."""
_ROUTER_LABEL = "server"
"""The production-stack router re-uses the prefix for its own series and labels them with the engine's URL."""
_CREATED = "prompt_tokens_created"
_START = "process_start_time_seconds"
_SUFFIX = re.compile(r"_(total|created|bucket|count|sum)$")
_LONGEST_LABEL = 200
"""Characters of a label that are kept: names live for ever in a dictionary whose index has a limit."""


class _Engine(NamedTuple):
    """Its ``engine`` and ``model_name`` labels, each empty where the page does not say."""

    label: str
    model: str


def read(
    samples: Iterable[Sample], *, scraped_at: datetime, replica: str, model: str | None, scrape_seconds: float
) -> list[Snapshot]:
    """The snapshots of one page: one per engine, in the order of their labels. None where nothing on it is vLLM's.

    ``model`` names the model where the page does not.
    """
    named, process = _own(samples)
    if not named:
        return []
    everything = [*named, *process]
    page = Page(everything)
    started_at = page.time(_START) or page.time(_CREATED)
    return [
        Snapshot(
            scraped_at=scraped_at,
            replica=replica,
            engine=engine.label,
            model=engine.model or model or "unknown",
            values=page.values(),
            histograms=page.histograms(),
            process_started_at=started_at,
            scrape_seconds=scrape_seconds,
        )
        for engine, page in _pages(_engines(named), everything)
    ]


def unknown_names(samples: Iterable[Sample]) -> list[str]:
    """vLLM's names that no family has as a source, without prefix and suffix."""
    known = {source.name for family in FAMILIES for source in family.vllm}
    found = set()
    for sample in _own(samples)[0]:
        stem = _SUFFIX.sub("", sample.name)
        if not {sample.name, stem, _SUFFIX.sub("", stem)} & known:
            found.add(stem)
    return sorted(found)


def _own(samples: Iterable[Sample]) -> tuple[list[Sample], list[Sample]]:
    """vLLM's own series without their prefix, and those of its process."""
    named, process = [], []
    for sample in samples:
        match = _PREFIX.match(sample.name)
        if match is not None and _ROUTER_LABEL not in sample.labels:
            named.append(sample._replace(name=sample.name[match.end() :]))
        elif match is None and sample.name.startswith(_PROCESS):
            process.append(sample)
    return named, process


def _engine(sample: Sample) -> _Engine:
    return _Engine(sample.labels.get("engine", "")[:_LONGEST_LABEL], sample.labels.get("model_name", "")[:_LONGEST_LABEL])


def _engines(samples: Iterable[Sample]) -> list[_Engine]:
    """The engines of a page in the order of their labels; older versions label none. Not every series names its model."""
    models: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        engine = _engine(sample)
        models[engine.label].add(engine.model)
    labels = sorted(label for label in models if label) or [""]
    anywhere = models.get("", set()) - {""}
    return [_Engine(label, model) for label in labels for model in sorted(models[label] - {""} or anywhere or {""})]


def _pages(engines: Sequence[_Engine], samples: Iterable[Sample]) -> list[tuple[_Engine, Page]]:
    """Each engine with its samples, and last what several engines share, by model where it names one."""
    if len(engines) == 1:
        return [(engines[0], Page(samples))]
    first: dict[str, _Engine] = {"": _Engine("", engines[0].model)}
    for engine in engines:
        first.setdefault(engine.label, engine)
    shares: dict[_Engine, list[Sample]] = {engine: [] for engine in engines}
    for sample in samples:
        engine = _engine(sample)
        owner = engine if engine.model else first.get(engine.label, first[""])
        shares.setdefault(owner, []).append(sample)
    return [(engine, Page(share)) for engine, share in shares.items()]
