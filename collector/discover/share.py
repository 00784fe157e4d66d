"""Which of many collectors watches a target: rendezvous hashing, so that each target has one and few move. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def owner_of(target: str, collectors: Iterable[str]) -> str | None:
    """The collector that watches a target, by the names of those that live; ``None`` where none does."""
    return max(collectors, key=lambda collector: (_score(target, collector), collector), default=None)


def _score(target: str, collector: str) -> bytes:
    return blake2b(f"{target}\0{collector}".encode(), digest_size=8).digest()
