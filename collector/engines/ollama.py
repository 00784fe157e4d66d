"""Ollama, which writes no page of metrics: what it says of its loaded models is JSON at /api/ps.

A model's ``size_vram`` is the part of it that is in GPU memory; the rest is computed on the CPU. No model loaded is no fault:
the next request loads one. Requests, tokens and latencies are known from gateways' spans alone.
"""

from __future__ import annotations

import json
import re

from collector.engines.engine import Engine, Question
from collector.engines.plan import Number, Part, Plan
from collector.errors import MalformedExposition
from collector.metrics import GPU_MEMORY_USED, EngineName

OLLAMA = Engine(
    name=EngineName.OLLAMA,
    prefix=re.compile(r"(?!)"),
    sources={},
    not_kept=frozenset(),
    health_path="/api/version",
    version=(Question("/api/version", ("version",)),),
)
MODELS_PATH = "/api/ps"
_LONGEST_NAME = 200


def read_models(text: str) -> tuple[Plan, list[float]]:
    """The answer of /api/ps as a page: one row for each loaded model, or one without a model where none is.

    :raises MalformedExposition: where it is something else
    """
    parts: list[Part] = []
    values: list[float] = []
    for name, bytes_on_gpu in sorted(_models(text)):
        parts.append(Part("", name[:_LONGEST_NAME], None, {}, (Number(GPU_MEMORY_USED, (len(values),)),), ()))
        values.append(bytes_on_gpu)
    nothing = (Part("", "", None, {}, (), ()),)
    return Plan(OLLAMA, tuple(parts) or nothing, (), frozenset({GPU_MEMORY_USED} if parts else ()), ()), values


def _models(text: str) -> list[tuple[str, float]]:
    try:
        models = json.loads(text)["models"]
        found = [(str(model["name"]), float(model["size_vram"])) for model in models or ()]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedExposition(f"not the list of models of {MODELS_PATH}: {text[:80]!r}") from None
    # A NUL and a lone surrogate are JSON, and no database takes them.
    return [(name.replace("\0", "").encode("utf-8", "replace").decode(), size) for name, size in found]
