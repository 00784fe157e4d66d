"""One file per engine: its metric names, old and new, and how its page becomes snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from weakref import WeakKeyDictionary

from collector.engines.engine import Engine
from collector.engines.llama_cpp import LLAMA_CPP
from collector.engines.ollama import OLLAMA
from collector.engines.page import make_plan
from collector.engines.plan import Plan
from collector.engines.sglang import SGLANG
from collector.engines.vllm import VLLM
from collector.exposition import Exposition, Layout, Parser
from collector.metrics import EngineName
from collector.sample import Snapshot

EXPOSING: tuple[Engine, ...] = (VLLM, SGLANG, LLAMA_CPP)
"""Engines that write a page of metrics, in the order in which a page is tried for them."""
ENGINES: Mapping[EngineName, Engine] = {engine.name: engine for engine in (*EXPOSING, OLLAMA)}
"""Programs that serve models. The other ones that are read tell of GPUs and containers."""
_PLANS: dict[tuple[Engine, ...], WeakKeyDictionary[Layout, Plan | None]] = {}
"""Plans by the engines that were tried, one for all targets whose pages have a layout, as long as it is remembered."""
_NO_TIME = datetime.fromtimestamp(0, UTC)


class Reading(NamedTuple):
    """What a page says of one engine, by our names.

    ``label`` is the engine's label, "0" where the only engine of the page has none, "" for what several engines share.
    """

    label: str
    model: str
    metrics: Mapping[str, float]
    """Gauges; counters as the engine's raw value; histograms as ``<name>_sum`` and ``<name>_count``."""


class Page(NamedTuple):
    """A page of metrics: which engine wrote it ("" where none did), what it says, and which of its names nobody here knows."""

    engine: str
    engines: tuple[Reading, ...]
    unknown: tuple[str, ...]


class Reader:
    """Reads the pages of one target, one after the other. Remembers their layout, and nothing that changes a result.

    ``engine`` says whose pages they are; without it they are recognised by the names on them.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self._engines = EXPOSING if engine is None else (engine,)
        self._plans = _PLANS.setdefault(self._engines, WeakKeyDictionary())
        self._parser = Parser()

    def parse(self, text: str) -> tuple[Plan | None, Exposition]:
        """A page, and how to read it; no plan where nothing on it is an engine's.

        :raises MalformedExposition: where it is no exposition
        """
        page = self._parser.parse(text)
        if page.layout not in self._plans:
            plans = (make_plan(engine, page.layout) for engine in self._engines)
            self._plans[page.layout] = next((plan for plan in plans if plan is not None), None)
        return self._plans[page.layout], page

    def read(self, text: bytes | str, *, model: str | None = None) -> Page:
        """What a page says; ``model`` names the model where the page does not.

        :raises MalformedExposition: where it is no exposition
        """
        plan, page = self.parse(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        if plan is None:
            return Page("", (), ())
        snapshots = plan.snapshots(page.values, scraped_at=_NO_TIME, replica="", model=model, scrape_seconds=0.0)
        only = len(snapshots) == 1
        readings = tuple(Reading(one.engine or ("0" if only else ""), one.model, _metrics(one)) for one in snapshots)
        return Page(plan.engine.name.value, readings, plan.unknown)


def read_page(text: bytes | str, *, model: str | None = None) -> Page:
    """Read one page of metrics; ``model`` names the model where the page does not. For several of one target take a Reader.

    :raises MalformedExposition: where it is no exposition
    """
    return Reader().read(text, model=model)


def _metrics(snapshot: Snapshot) -> dict[str, float]:
    metrics = {family.name: value for family, value in snapshot.values.items()}
    for family, histogram in snapshot.histograms.items():
        metrics |= {f"{family.name}_sum": histogram.sum, f"{family.name}_count": float(histogram.counts[-1])}
    return metrics
