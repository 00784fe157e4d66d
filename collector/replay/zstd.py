"""A zstd file as a stream. The library's own reader takes a file that was cut off for one that has ended."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

import zstandard

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 2**10
"""Compressed bytes that are looked at together: all of them zeros, they make 33 MB."""


class ZstdFile(io.RawIOBase):
    """Decompresses every frame of a file, one after the other.

    :raises EOFError: while reading, where the last frame was cut off
    :raises zstandard.ZstdError: while reading, for what is no zstd
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._started = False
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill as much of a buffer as is at hand; 0 at the end."""
        target = memoryview(buffer).cast("B")
        while not self._plain:
            chunk = self._frame.unused_data or self._file.read(_CHUNK)
            if not chunk:
                if self._started and not self._frame.eof:
                    raise EOFError("a zstd frame was cut off")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._started = True
            self._plain = memoryview(self._frame.decompress(chunk))
        count = min(len(target), len(self._plain))
        target[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count
