"""Who writes where: each worker has a directory of the spool to itself, by a lock that the kernel lets go of when it dies."""

from __future__ import annotations

import fcntl
import itertools
import os
from pathlib import Path

_LOCK = "lock"


class Place:
    """A directory that is ours until it is released."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def claim(directory: Path) -> Place | None:
    """Take a directory, unless somebody has it. It is made where it is missing, and outlives a crash of the machine.

    :raises OSError: when it cannot be made or opened
    """
    make_directory(directory)
    # The lock file is never removed: somebody could wait for the one that is gone, and hold it beside us.
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Place(directory, descriptor)


def claim_free(root: Path) -> Place:
    """Take the first directory that nobody has: ``0``, ``1`` and so on.

    :raises OSError: when it cannot be made or opened
    """
    make_directory(root)
    for number in itertools.count():
        place = claim(root / str(number))
        if place is not None:
            return place
    raise AssertionError("unreachable")


def filled(root: Path) -> list[Path]:
    """The directories with data, whoever has them."""
    return sorted({path.parent for path in root.glob("[0-9]*/*.segment")})


def make_directory(path: Path) -> None:
    """Make a directory and its parents, to outlive a crash of the machine. Only its owner may look into it."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_directory(path.parent.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory outlive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
