"""vLLM's /metrics: one page per API server, one engine per ``engine`` label.

Metrics of the process and of admission carry no engine label. They go onto the row of the only engine, and with several engines
onto a row of their own, whose engine is "".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from collector.engines.page import Engine, Page, Select
from collector.metrics import FAMILIES, Family, Kind
from collector.sample import Histogram, Sample, Snapshot

_PREFIX = re.compile(r"(ray_vllm[:_]|kserve_vllm[:_]|vllm:)")
_ROUTER_LABEL = "server"
"""The production-stack router re-uses the prefix for its own series and labels them with the engine's URL."""
_CREATED = "prompt_tokens_created"
_START = "process_start_time_seconds"
_SHARED = re.compile(r"(process_|http_|admission_)")
_SUFFIX = re.compile(r"_(total|created|bucket|count|sum)$")


def read(
    samples: Iterable[Sample], *, scraped_at: datetime, replica: str, model: str | None, scrape_seconds: float
) -> list[Snapshot]:
    """The snapshots of one page: one per engine, in the order of their labels.

    ``model`` names the model where the page does not.
    """
    own = [_stripped(sample) for sample in samples if _ROUTER_LABEL not in sample.labels]
    page = Page(own)
    engines = _engines(own)
    alone = len(engines) == 1
    snapshots = []
    for engine in [*engines, *([] if alone else [Engine("", engines[0].model)])]:
        shared = alone or not engine.label
        snapshots.append(
            Snapshot(
                scraped_at=scraped_at,
                replica=replica,
                engine=engine.label,
                model=engine.model or model or "unknown",
                values=_values(page, engine, shared=shared, own=alone or bool(engine.label)),
                histograms=_histograms(page, engine) if alone or engine.label else {},
                process_started_at=page.time(_START, _anything) or page.time(_CREATED, _anything),
                scrape_seconds=scrape_seconds,
            )
        )
    return snapshots


def unknown_names(samples: Iterable[Sample]) -> list[str]:
    """vLLM's names that no family has as a source, without prefix and suffix."""
    known = {source.name for family in FAMILIES for source in family.vllm}
    found = set()
    for sample in samples:
        match = _PREFIX.match(sample.name)
        if match is not None:
            name = sample.name[match.end() :]
            stem = _SUFFIX.sub("", name)
            if not {name, stem, _SUFFIX.sub("", stem)} & known:
                found.add(stem)
    return sorted(found)


def _stripped(sample: Sample) -> Sample:
    match = _PREFIX.match(sample.name)
    return sample if match is None else sample._replace(name=sample.name[match.end() :])


def _engines(samples: Iterable[Sample]) -> list[Engine]:
    """The engines of a page, by label; older versions have none. Not every series of an engine names its model."""
    models: dict[str, str] = {}
    for sample in samples:
        label, model = sample.labels.get("engine", ""), sample.labels.get("model_name", "")
        if label or model:
            models[label] = models.get(label) or model
    labelled = [Engine(label, model) for label, model in sorted(models.items()) if label]
    return labelled or [Engine("", models.get("", ""))]


def _anything(sample: Sample) -> bool:
    return True


def _of(engine: Engine) -> Select:
    return lambda sample: sample.labels.get("engine", engine.label) == engine.label


def _values(page: Page, engine: Engine, *, shared: bool, own: bool) -> dict[Family, float]:
    """Gauges and counters. A value that is no finite number is unknown."""
    values = {}
    for family in FAMILIES:
        if family.kind is Kind.HISTOGRAM:
            continue
        is_shared = any(_SHARED.match(source.name) for source in family.vllm)
        if (is_shared and shared) or (not is_shared and own):
            value = page.values(family, family.vllm, _of(engine))
            if value is not None and abs(value) < float("inf"):
                values[family] = value
    return values


def _histograms(page: Page, engine: Engine) -> dict[Family, Histogram]:
    found = {}
    for family in FAMILIES:
        if family.kind is Kind.HISTOGRAM:
            histogram = page.histogram(family.vllm, _of(engine))
            if histogram is not None:
                found[family] = histogram
    return found
