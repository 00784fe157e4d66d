"""Who calls the gateway: API keys, the tenants they belong to, and how often a tenant may call.

The keys file is JSON::

    {"tenants": {"acme": {"requests_per_second": 5, "burst": 10}},
     "keys": {"sk-…": {"tenant": "acme", "alias": "acme-web"}}}
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_HASH_LENGTH = 16


class Limit(NamedTuple):
    """A token bucket: ``burst`` calls at once, refilled at ``requests_per_second``."""

    requests_per_second: float
    burst: float


class Key(NamedTuple):
    """An API key, by everything that may be written down of it."""

    tenant: str
    alias: str


class Directory(NamedTuple):
    """All keys and tenants."""

    keys: Mapping[str, Key]
    limits: Mapping[str, Limit]


class RateLimiter:
    """Counts the calls of each tenant. Not shared between processes."""

    def __init__(self, limits: Mapping[str, Limit]) -> None:
        self._limits = limits
        self._left: dict[str, tuple[float, float]] = {}

    def allow(self, tenant: str, now: float) -> bool:
        """Whether one more call is within the limit at ``now``, in seconds of a clock that only moves on; counts it if so."""
        limit = self._limits[tenant]
        left, at = self._left.get(tenant, (limit.burst, now))
        left = min(limit.burst, left + (now - at) * limit.requests_per_second)
        allowed = left >= 1
        self._left[tenant] = (left - 1 if allowed else left, now)
        return allowed


def read_directory(path: Path) -> Directory:
    """The keys file. Raises OSError, ValueError, KeyError or TypeError when it is not one."""
    content = json.loads(path.read_text())
    limits = {name: Limit(**limit) for name, limit in content["tenants"].items()}
    keys = {key: Key(**one) for key, one in content["keys"].items()}
    unknown = sorted({key.tenant for key in keys.values()} - limits.keys())
    if unknown:
        raise ValueError(f"{path}: keys of tenants that are not there: {', '.join(unknown)}")
    return Directory(keys, limits)


def write_directory(path: Path, directory: Directory) -> None:
    """The inverse of ``read_directory``; only the owner may read the file."""
    content = {
        "tenants": {name: limit._asdict() for name, limit in directory.limits.items()},
        "keys": {key: one._asdict() for key, one in directory.keys.items()},
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1) + "\n")


def new_directory(tenants: Iterable[str]) -> Directory:
    """One random key for each tenant, with a limit that the demo's traffic stays below."""
    names = tuple(tenants)
    keys = {f"sk-{name}-{secrets.token_urlsafe(16)}": Key(name, f"{name}-demo") for name in names}
    return Directory(keys, dict.fromkeys(names, Limit(requests_per_second=20, burst=40)))


def keys_by_tenant(directory: Directory) -> Mapping[str, str]:
    """One API key of each tenant that has any."""
    return {one.tenant: key for key, one in directory.keys.items()}


def hash_key(key: str) -> str:
    """What is kept of a key: enough to tell keys apart, too little to call with."""
    return hashlib.sha256(key.encode()).hexdigest()[:_HASH_LENGTH]
