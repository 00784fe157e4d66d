"""Locks between processes. The kernel lets go of them when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.errors import ServerFailed

_PATIENCE_SECONDS = 360.0


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file alone; waits for another holder, for six minutes at most, since a recovery after a crash takes time."""
    descriptor = _open(path)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _try(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ServerFailed(f"another llm-slo has held {path} for {_PATIENCE_SECONDS:.0f} s: is it stopped or hanging?")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


class Claim:
    """A share in the use of a server. As long as one process holds one, nobody stops the server under it."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = _open(path)

    @property
    def held(self) -> bool:
        """Whether it was not yet released."""
        return self._descriptor is not None

    def hold(self) -> None:
        """Hold the share; only within the start lock."""
        assert self._descriptor is not None
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def is_only(self) -> bool:
        """Whether nobody else holds a share; ours may be gone afterwards. Only within the start lock."""
        assert self._descriptor is not None
        return _try(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let go, also in processes that were forked off; again is harmless."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
