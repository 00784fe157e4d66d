"""Targets in Prometheus' service-discovery format: ``[{"targets": ["host:port"], "labels": {...}}]``. Pure.

Labels name what an address does not: ``replica``, ``model``, ``environment``, ``revision`` and ``engine``, ``__scheme__`` and
``__metrics_path__`` as Prometheus knows them. Other labels are left alone, since files are shared with Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from collector.target import Target

MOST_TARGETS = 10_000
"""Targets of one source."""
_NAMES = ("replica", "model", "environment", "revision", "engine")
_METRICS = "/metrics"


class MalformedTargets(Exception):
    """A document that is no list of target groups; the message says where, and what was expected."""


class Found(NamedTuple):
    """What a document names: targets, and for each address that is none, why."""

    targets: tuple[Target, ...]
    rejected: tuple[str, ...]


def read_groups(document: object) -> Found:
    """Read a parsed JSON or YAML document.

    :raises MalformedTargets: for one that is not in the format; one bad address only rejects itself
    """
    if not isinstance(document, list):
        raise MalformedTargets(f"found {_kind(document)}: expected a list of groups with targets and labels")
    targets: list[Target] = []
    rejected: list[str] = []
    for number, group in enumerate(document):
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
            raise MalformedTargets(f"[{number}]: expected a group with a list of targets")
        labels = group.get("labels") or {}
        if not isinstance(labels, dict):
            raise MalformedTargets(f"[{number}].labels: found {_kind(labels)}: expected names and values")
        for address in group["targets"]:
            if len(targets) >= MOST_TARGETS:
                raise MalformedTargets(f"more than {MOST_TARGETS} targets")
            try:
                targets.append(target_of(address, labels))
            except (ValueError, ValidationError) as error:
                rejected.append(f"[{number}] {str(address)[:100]}: {_reason(error)}")
    return Found(tuple(targets), tuple(rejected))


def target_of(address: object, labels: Mapping[object, object]) -> Target:
    """One target.

    :raises ValueError: for an address or a label that makes none (pydantic's ValidationError is one)
    """
    if not isinstance(address, str) or not address or "/" in address or any(map(str.isspace, address)):
        raise ValueError("expected HOST:PORT")
    path = str(labels.get("__metrics_path__") or _METRICS)
    if not path.endswith(_METRICS):
        raise ValueError(f"__metrics_path__ is {path}: expected a path that ends with {_METRICS}")
    scheme = str(labels.get("__scheme__") or "http")
    named = {name: str(labels[name]) for name in _NAMES if labels.get(name) not in (None, "")}
    return Target.model_validate({"url": f"{scheme}://{address}{path.removesuffix(_METRICS)}", **named})


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
