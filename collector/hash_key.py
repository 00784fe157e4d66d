"""The key under which ids of people are hashed: one person is recognised again, and without the key nobody knows who it is."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from collector.errors import ConfigError

SHORTEST_BYTES = 16
_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class HashKey:
    """``id`` is kept beside each hash, so that a new key can follow an old one."""

    id: int
    key: bytes = field(repr=False)

    def hash(self, text: str) -> bytes:
        """16 bytes of HMAC-SHA256."""
        return hmac.digest(self.key, text.encode(errors="replace"), sha256)[:_HASH_BYTES]


def load_hash_key(path: Path | None, id: int) -> HashKey | None:
    """The key in a file; ``None`` without a file: ids of people are dropped then.

    :raises ConfigError: for a file that cannot be read, or a key that is too short
    """
    if path is None:
        return None
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"privacy.hash_key_file: {path}: {error.strerror}") from None
    if len(key) < SHORTEST_BYTES:
        raise ConfigError(f"privacy.hash_key_file: {path} holds {len(key)} bytes: expected at least {SHORTEST_BYTES}")
    return HashKey(id, key)
