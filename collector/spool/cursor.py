"""How far a worker's segments were replayed, kept across crashes of the process.

It is not forced to disk: after a crash of the machine an older one may be found, and what was replayed since comes again, which
changes nothing but the count of duplicates. It never points beyond what was replayed, since numbers of segments are not reused.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

_FIELDS = struct.Struct("<QQ")
_CHECK = struct.Struct("<I")


class Position(NamedTuple):
    """Segments below ``number`` were replayed, and this one up to ``offset`` [bytes]."""

    number: int
    offset: int


class Cursor:
    """The file with the position.

    :raises OSError: when it cannot be opened
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> Position:
        """The position; the beginning where there is none that checks."""
        content = os.pread(self._descriptor, _FIELDS.size + _CHECK.size, 0)
        fields, check = content[: _FIELDS.size], content[_FIELDS.size :]
        if len(check) == _CHECK.size and _CHECK.unpack(check)[0] == crc32(fields):
            return Position(*_FIELDS.unpack(fields))
        return Position(0, 0)

    def write(self, position: Position) -> None:
        """Remember a position.

        :raises OSError: when it cannot be written
        """
        fields = _FIELDS.pack(*position)
        os.pwrite(self._descriptor, fields + _CHECK.pack(crc32(fields)), 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
