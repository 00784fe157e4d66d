"""The pages of one target, one scrape after the other: asked for, recognised and read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from collector.engines import ENGINES, Reader, dcgm, kube_state
from collector.engines.ollama import MODELS_PATH, OLLAMA, read_models
from collector.engines.plan import Plan
from collector.errors import MalformedExposition
from collector.exposition import Exposition
from collector.fetch import FailedScrape, ask, fetch
from collector.metrics import EngineName
from collector.target import Target

_PREFIXES = {dcgm.PREFIX: EngineName.DCGM, kube_state.PREFIX: EngineName.KUBE_STATE}
EXPORTERS = frozenset(_PREFIXES.values())
"""What tells of GPUs and containers and serves no model."""
NOT_FOUND = 404
LONG_PAGE = 2**19
"""Characters; a page of vLLM with two engines has an eighth of it."""


class Pages:
    """Asks a target for its page.

    Its engine is the one that the configuration states, or else the one whose names are on the page.
    """

    def __init__(self, client: aiohttp.ClientSession, target: Target) -> None:
        self._client = client
        self._url = target.url.rstrip("/")
        self._stated = None if target.engine is None else ENGINES[target.engine]
        self.engine = self._stated
        """The engine, as far as it is known."""
        self._reader = Reader(self._stated)

    async def next(self) -> tuple[Plan, Sequence[float]]:
        """The target's page as it is now.

        :raises FailedScrape: where it gives none, or one of something else
        """
        if self.engine is OLLAMA:
            try:
                return await self._models()
            except FailedScrape as failed:
                if self._stated is None and failed.status == NOT_FOUND:
                    # Something else is there now: the next scrape finds out what.
                    self.engine = None
                raise
        try:
            text = await fetch(self._client, f"{self._url}/metrics")
        except FailedScrape as failed:
            if self._stated is None and failed.status == NOT_FOUND:
                return await self._models_instead(failed)
            raise
        try:
            # A long page takes long to read where its layout is new, and nobody else shall wait for it.
            long = len(text) > LONG_PAGE
            plan, page = await asyncio.to_thread(self._reader.parse, text) if long else self._reader.parse(text)
        except MalformedExposition as malformed:
            raise FailedScrape(str(malformed)) from malformed
        if plan is None:
            raise FailedScrape(self._refusal(page))
        self.engine = plan.engine
        return plan, page.values

    async def version(self) -> str | None:
        """The version of the engine, where it tells."""
        return None if self.engine is None else await ask(self._client, self._url, self.engine.version)

    async def model(self) -> str | None:
        """The model of an engine whose page names none, where it tells otherwise."""
        return None if self.engine is None else await ask(self._client, self._url, self.engine.model)

    async def _models(self) -> tuple[Plan, Sequence[float]]:
        text = await fetch(self._client, f"{self._url}{MODELS_PATH}")
        try:
            return read_models(text)
        except MalformedExposition as malformed:
            raise FailedScrape(str(malformed)) from malformed

    async def _models_instead(self, failed: FailedScrape) -> tuple[Plan, Sequence[float]]:
        """Without a page of metrics it may be Ollama; what is said of a target that is none is that it has no page."""
        try:
            answer = await self._models()
        except FailedScrape:
            raise failed from None
        self.engine = OLLAMA
        return answer

    def _refusal(self, page: Exposition) -> str:
        for prefix, exporter in _PREFIXES.items():
            if any(series.name.startswith(prefix) for series in page.layout.series):
                return f"a page of an exporter, which is no engine: its target needs engine: {exporter.value}"
        if self._stated is not None:
            return f"no metric of {self._stated.name.value} on the page: another server, or metrics are off"
        return "no engine's metric on the page: another server, or metrics are off"
