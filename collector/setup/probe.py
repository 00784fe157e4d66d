"""What is there: engines on usual ports or where Prometheus knows them, LiteLLM, Prometheus, Kubernetes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp

from collector.check import Checked, check
from collector.fetch import FailedScrape, fetch, session
from collector.target import Target

PORTS = {
    8000: "vLLM",
    8001: "vLLM",
    8002: "vLLM",
    8003: "vLLM",
    30000: "SGLang",
    8080: "llama.cpp",
    11434: "Ollama",
}
"""Ports that engines listen on by default, and the next ones."""
PROMETHEUS = "http://127.0.0.1:9090"
LITELLM = "http://127.0.0.1:4000"
_ENGINES = '{__name__=~"vllm:num_requests_running|sglang:num_running_reqs|llamacpp:requests_processing"}'


class Surroundings(NamedTuple):
    """What was found."""

    engines: tuple[Checked, ...]
    prometheus: str | None = None
    """Base URL of a Prometheus that answers."""
    litellm: str | None = None
    """Base URL of a LiteLLM proxy that answers."""
    kubernetes: bool = False
    """Whether this is a pod, or a kubeconfig is there."""


async def look_around(
    targets: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    ports: Iterable[int] = tuple(PORTS),
    prometheus: str = PROMETHEUS,
    litellm: str = LITELLM,
    environment: Mapping[str, str] = os.environ,
) -> Surroundings:
    """Ask everything once. ``targets`` are base URLs that the caller knows of."""
    async with session() as client:
        known, alive = await asyncio.gather(_ask_prometheus(client, prometheus), _is_litellm(client, litellm))
    urls = dict.fromkeys((*targets, *(f"http://{host}:{port}" for port in ports), *(known or ())))
    found = [one for one in await check([Target(url=url) for url in urls]) if one.failure is None]
    return Surroundings(
        engines=_once(found),
        prometheus=prometheus if known is not None else None,
        litellm=litellm if alive else None,
        kubernetes=_is_kubernetes(environment),
    )


def _is_kubernetes(environment: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environment or Path(environment.get("HOME", "/"), ".kube", "config").exists()


def _once(found: Iterable[Checked]) -> tuple[Checked, ...]:
    """Each engine once: one machine has several names."""
    by_place: dict[str, Checked] = {}
    for one in found:
        place = urlsplit(one.url)
        name = "127.0.0.1" if place.hostname in ("localhost", "::1") else place.hostname
        by_place.setdefault(f"{name}:{place.port}{place.path}", one)
    return tuple(by_place.values())


async def _ask_prometheus(client: aiohttp.ClientSession, url: str) -> list[str] | None:
    """Base URLs of the engines that a Prometheus scrapes; ``None`` where none answers."""
    try:
        answer: Any = json.loads(await fetch(client, f"{url}/api/v1/query?{urlencode({'query': _ENGINES})}"))
        series = answer["data"]["result"]
        return sorted({f"http://{one['metric']['instance']}" for one in series if one["metric"].get("instance")})
    except (FailedScrape, ValueError, KeyError, TypeError):
        return None


async def _is_litellm(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        return "alive" in str(await fetch(client, f"{url}/health/liveliness"))
    except FailedScrape:
        return False
