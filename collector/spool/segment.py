"""One segment: what is known of it, and its reading and writing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from collector import telemetry
from collector.spool.frame import Kind, Piece, scan

SUFFIX = ".segment"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger()


@dataclass(slots=True)
class Segment:
    """A segment. ``number`` orders it among the others."""

    number: int
    path: Path
    size: int
    """Bytes that are known to be on disk. What a failed write left behind them is never read."""
    spans: int
    """Requests that were not yet replayed, as far as headers say."""
    oldest_us: int
    """When the first of what was not yet replayed was received [µs since the epoch]."""
    fragments: int = 0
    """Fragments that were not yet replayed."""


def recovered(path: Path, start: int, *, is_last: bool) -> Segment | None:
    """A segment of an earlier process, from ``start`` [bytes] on; ``None`` where nothing is left in it.

    At the end of the last one, a record that was not written whole is cut off: it was never acknowledged.

    :raises OSError: when it cannot be read
    """
    data = path.read_bytes()[start:]
    pieces = list(scan(data))
    if is_last and pieces and pieces[-1].kind is Kind.TORN:
        torn = pieces.pop()
        os.truncate(path, start + torn.start)
        telemetry.SPOOL_TORN_BYTES.inc(torn.end - torn.start)
        log.warning("the unacknowledged end of the spool was cut off", path=str(path), bytes=torn.end - torn.start)
    if not pieces:
        return None
    written_us = int(path.stat().st_mtime * 1e6)
    oldest_us = next((piece.header.received_at_us for piece in pieces if piece.header), written_us)
    spans, fragments = sum(piece.spans for piece in pieces), sum(piece.fragments for piece in pieces)
    return Segment(int(path.stem), path, start + pieces[-1].end, spans, oldest_us, fragments)


def pieces_of(segment: Segment, start: int) -> list[Piece]:
    """The pieces of a segment from ``start`` [bytes] on. What cannot be read is one damaged piece."""
    try:
        with segment.path.open("rb") as file:
            file.seek(start)
            data = file.read(segment.size - start)
    except OSError as error:
        log.error("a segment of the spool cannot be read", path=str(segment.path), reason=error.strerror)
        data = b""
    pieces = [piece._replace(start=start + piece.start, end=start + piece.end) for piece in scan(data)]
    if start + len(data) < segment.size:
        pieces.append(Piece(Kind.DAMAGED, start + len(data), segment.size))
    return pieces


def write(descriptor: int, block: bytes, offset: int) -> None:
    """Write all of a block.

    :raises OSError: when there is no room; a part of it may be there then
    """
    rest = memoryview(block)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def to_us(time: datetime) -> int:
    """Microseconds since the epoch."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(us: int) -> datetime:
    """The time that is so many microseconds after the epoch."""
    return _EPOCH + us * _MICROSECOND
