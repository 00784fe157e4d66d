"""The segments of one worker: appended at the end, replayed from the beginning, deleted when they were replayed.

Everything here blocks, and belongs to one thread.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import structlog

from collector import telemetry
from collector.fragment import Fragment
from collector.request import Request
from collector.spool.cursor import Cursor, Position
from collector.spool.frame import FRAGMENTS, Kind, Piece
from collector.spool.place import sync_directory
from collector.spool.record import LARGEST_RECORD, UnknownRecord, decode, decode_fragments
from collector.spool.segment import SUFFIX, Segment, pieces_of, recovered, time_of, to_us, write

SEGMENT_BYTES = 16 * 2**20
"""Size at which the next segment is begun: what is read into memory at once, and the unit in which room becomes free."""
TOGETHER_US = 1_000_000
"""Records that were received within this time are replayed as one batch [µs]: bodies are small, and a commit each is slow."""

log = structlog.get_logger()


class Reason(StrEnum):
    """Why records are set aside: the suffix of the file that keeps them, and a label of metrics."""

    CORRUPT = "corrupt"
    UNKNOWN_VERSION = "unknown_version"
    UNSTORABLE = "unstorable"
    """The database answered, and does not take it."""


class Taken(NamedTuple):
    """What is to be replayed next, and what beside it was set aside: numbers of requests and of fragments by reason.

    ``spans`` are all requests and ``all_fragments`` all fragments of it; ``end`` is how far the first segment is done with
    afterwards [bytes].
    """

    received_at: datetime
    requests: tuple[Request, ...]
    fragments: tuple[Fragment, ...]
    set_aside: tuple[tuple[Reason, int, int], ...]
    spans: int
    all_fragments: int
    end: int


class Journal:
    """The segments in one directory, which the caller has locked.

    :raises OSError: when the directory cannot be used
    """

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._cursor = Cursor(directory / "cursor")
        self._segments: deque[Segment] = deque()
        self._writing: int | None = None
        self._ahead: deque[Piece] = deque()
        self._read_to = 0
        self._recover()

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self._segments)

    @property
    def spans(self) -> int:
        """Requests that were not yet replayed."""
        return sum(segment.spans for segment in self._segments)

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest request was received; ``None`` for an empty journal."""
        return time_of(self._segments[0].oldest_us) if self._segments else None

    def append(self, records: Sequence[bytes], spans: int, received_at: datetime, fragments: int = 0) -> None:
        """Return once the records, of ``spans`` requests and so many fragments, are on disk.

        :raises OSError: when they are not, and will not be found later either
        """
        block = b"".join(records)
        descriptor, segment = self._open_segment()
        try:
            write(descriptor, block, segment.size)
            os.fsync(descriptor)
        except OSError:
            self._abandon(descriptor, segment)
            raise
        if not segment.spans and not segment.fragments:
            segment.oldest_us = to_us(received_at)
        segment.size += len(block)
        segment.spans += spans
        segment.fragments += fragments

    def take(self) -> Taken | None:
        """What is to be replayed next, the oldest first; ``None`` when nothing is left. Followed by `advance`.

        :raises OSError: when something has to be set aside and cannot be
        """
        if not self._segments:
            return None
        if not self._ahead:
            self._load(self._segments[0])
        pieces = _together(self._ahead)
        requests: list[Request] = []
        fragments: list[Fragment] = []
        set_aside: list[tuple[Reason, int, int]] = []
        for piece in pieces:
            reason = _read(piece, requests, fragments)
            if reason is not None:
                self.set_aside(reason, piece.spans + piece.fragments, piece.end - piece.start)
                set_aside.append((reason, piece.spans, piece.fragments))
        for _ in pieces:
            self._ahead.popleft()
        received_us = next((piece.header.received_at_us for piece in pieces if piece.header), self._segments[0].oldest_us)
        return Taken(
            time_of(received_us),
            tuple(requests),
            tuple(fragments),
            tuple(set_aside),
            spans=sum(piece.spans for piece in pieces),
            all_fragments=sum(piece.fragments for piece in pieces),
            end=pieces[-1].end,
        )

    def advance(self, taken: Taken) -> int:
        """Be done with what was taken. Returns the requests that turned out to be in no readable record of the segment."""
        segment = self._segments[0]
        segment.spans -= taken.spans
        segment.fragments -= taken.all_fragments
        try:
            self._cursor.write(Position(segment.number, taken.end))
        except OSError as error:
            # Replayed again after a crash, and then found to be duplicates.
            log.warning("the spool's cursor cannot be written", reason=error.strerror)
        if taken.end < segment.size:
            following = self._ahead[0].header if self._ahead else None
            segment.oldest_us = following.received_at_us if following else to_us(taken.received_at)
            return 0
        self._remove(segment)
        return segment.spans

    def set_aside(self, reason: Reason, spans: int, size: int) -> None:
        """Keep the segment that is being replayed for a person to look at; what else is in it is replayed.

        :raises OSError: when it cannot be kept
        """
        segment = self._segments[0]
        kept = segment.path.with_suffix(f".{reason}")
        if not kept.exists():
            try:
                os.link(segment.path, kept)
            except OSError:
                shutil.copyfile(segment.path, kept)  # a file system without hard links
        telemetry.SPOOL_SET_ASIDE.labels(reason).inc()
        telemetry.SPOOL_SET_ASIDE_BYTES.labels(reason).inc(size)
        log.error("a record of the spool was set aside", reason=str(reason), kept=str(kept), spans=spans, bytes=size)

    def close(self) -> None:
        """Let go of all files."""
        self._close_segment()
        self._cursor.close()

    def _recover(self) -> None:
        """Find what an earlier process left; cut off the end of a record that was never acknowledged."""
        position = self._cursor.read()
        paths = sorted(self._directory.glob(f"[0-9]*{SUFFIX}"), key=lambda path: int(path.stem))
        self._next_number = 1 + max(position.number, *(int(path.stem) for path in self._directory.glob("[0-9]*.*")), 0)
        for path in paths:
            number = int(path.stem)
            start = 0 if number > position.number else position.offset if number == position.number else None
            try:
                segment = None if start is None else recovered(path, start, is_last=path == paths[-1])
            except OSError as error:
                # Bad blocks must not keep the rest from being replayed; the file stays, for the next start or a person.
                telemetry.SPOOL_SET_ASIDE.labels(Reason.CORRUPT).inc()
                log.error("a segment of the spool cannot be read", path=str(path), reason=error.strerror)
                continue
            if segment is None:
                path.unlink()
                continue
            if not self._segments:
                self._read_to = start or 0
            self._segments.append(segment)

    def _load(self, segment: Segment) -> None:
        """Read what the segment has beyond what was read before."""
        self._ahead += pieces_of(segment, self._read_to)
        self._read_to = segment.size

    def _open_segment(self) -> tuple[int, Segment]:
        """The segment to append to. After a start or a fault it is a new one: what is at the end of the old is unknown."""
        if self._writing is not None and self._segments[-1].size < self._segment_bytes:
            return self._writing, self._segments[-1]
        self._close_segment()
        path = self._directory / f"{self._next_number:08}{SUFFIX}"
        self._writing = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        segment = Segment(self._next_number, path, size=0, spans=0, oldest_us=0)
        self._segments.append(segment)
        self._next_number += 1
        try:
            sync_directory(self._directory)
        except OSError:
            self._abandon(self._writing, segment)
            raise
        return self._writing, segment

    def _abandon(self, descriptor: int, segment: Segment) -> None:
        """Cut off what was not acknowledged. After a failed fsync nobody knows what is on disk: nothing is added behind it."""
        try:
            os.ftruncate(descriptor, segment.size)
            os.fsync(descriptor)
        except OSError as error:
            log.warning("a half-written record cannot be cut off", path=str(segment.path), reason=error.strerror)
        self._close_segment()
        if not segment.size:
            self._segments.pop()
            segment.path.unlink(missing_ok=True)

    def _close_segment(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _remove(self, segment: Segment) -> None:
        if len(self._segments) == 1:
            self._close_segment()
        self._segments.popleft()
        self._ahead.clear()
        self._read_to = 0
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a replayed segment cannot be deleted", path=str(segment.path), reason=error.strerror)


def _together(ahead: deque[Piece]) -> list[Piece]:
    """The pieces that are replayed as one batch."""
    spans, first_us = 0, None
    for count, piece in enumerate(ahead):
        received_us = piece.header.received_at_us if piece.header else first_us
        first_us = received_us if first_us is None else first_us
        late = received_us is not None and first_us is not None and abs(received_us - first_us) > TOGETHER_US
        spans += piece.spans + piece.fragments
        if count and (late or spans > LARGEST_RECORD):
            return list(islice(ahead, count))
    return list(ahead)


def _read(piece: Piece, requests: list[Request], fragments: list[Fragment]) -> Reason | None:
    """Add what is in a piece, or say why it has to be set aside."""
    if piece.kind is not Kind.RECORD or piece.header is None:
        return Reason.CORRUPT
    try:
        if piece.header.version == FRAGMENTS:
            fragments += decode_fragments(piece.payload)
        else:
            requests += decode(piece.header.version, piece.payload)
    except UnknownRecord as error:
        log.error("a record of the spool is not ours to read", reason=str(error))
        return Reason.UNKNOWN_VERSION
    return None
