"""The format of a segment: records one after the other, each with a header that checks itself and its payload. Pure.

The header's own checksum makes a length trustworthy. So a record whose end is missing is told from one that was damaged, and
a damaged one costs itself only: reading goes on at the next header that checks. The first byte of ``MAGIC`` is in no UTF-8
text, so that no name that a sender chose can look like a header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple
from zlib import crc32

MAGIC = b"\xffSL\xfe"
REQUESTS, FRAGMENTS = 1, 2
"""Versions of a payload's encoding: what a record holds. Another number is another llm-slo's."""
_FIELDS = struct.Struct("<4sBqIII")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECK.size


class Header(NamedTuple):
    """``version`` of the payload's encoding, when its requests or fragments were received [µs since the epoch], how many they
    are, and the payload's length [bytes] and CRC-32."""

    version: int
    received_at_us: int
    spans: int
    length: int
    payload_crc: int


class Kind(Enum):
    """What a stretch of a segment is."""

    RECORD = "record"
    DAMAGED = "damaged"
    """Not what was written. With a header, the number of its requests is known."""
    TORN = "torn"
    """The last record, which was not written to its end."""


class Piece(NamedTuple):
    """A stretch of a segment, from ``start`` up to ``end`` [bytes]. Only a record has a payload."""

    kind: Kind
    start: int
    end: int
    header: Header | None = None
    payload: bytes = b""

    @property
    def spans(self) -> int:
        """Requests in it, as far as it is known."""
        return self.header.spans if self.header and self.header.version != FRAGMENTS else 0

    @property
    def fragments(self) -> int:
        """Fragments in it, as far as it is known."""
        return self.header.spans if self.header and self.header.version == FRAGMENTS else 0


def pack(version: int, received_at_us: int, spans: int, payload: bytes) -> bytes:
    """One record as it is written."""
    fields = _FIELDS.pack(MAGIC, version, received_at_us, spans, len(payload), crc32(payload))
    return fields + _CHECK.pack(crc32(fields)) + payload


def scan(data: bytes) -> Iterator[Piece]:
    """Cut a segment into pieces without gaps. Only the last can be torn."""
    start = 0
    while start < len(data):
        piece = _piece(data, start)
        yield piece
        start = piece.end


def _piece(data: bytes, start: int) -> Piece:
    header = _header(data, start)
    if header is None:
        # Zeros are what a file system shows where a file grew before its content was written.
        if len(data) - start < HEADER_BYTES or data.count(0, start) == len(data) - start:
            return Piece(Kind.TORN, start, len(data))
        return Piece(Kind.DAMAGED, start, _next_header(data, start + 1))
    end = start + HEADER_BYTES + header.length
    if end > len(data):
        return Piece(Kind.TORN, start, len(data), header)
    payload = data[start + HEADER_BYTES : end]
    if crc32(payload) != header.payload_crc:
        return Piece(Kind.DAMAGED, start, end, header)
    return Piece(Kind.RECORD, start, end, header, payload)


def _header(data: bytes, start: int) -> Header | None:
    if not data.startswith(MAGIC, start) or len(data) - start < HEADER_BYTES:
        return None
    check = start + _FIELDS.size
    if _CHECK.unpack_from(data, check)[0] != crc32(data[start:check]):
        return None
    return Header(*_FIELDS.unpack_from(data, start)[1:])


def _next_header(data: bytes, start: int) -> int:
    """Where the next header that checks begins; the end of the data where there is none."""
    while True:
        start = data.find(MAGIC, start)
        if start < 0:
            return len(data)
        if _header(data, start) is not None:
            return start
        start += 1
