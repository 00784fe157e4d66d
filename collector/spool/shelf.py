"""A worker's part of the spool: the directory that it writes to, and those that dead workers left, within their limits.

Everything here blocks, and belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog

from collector.errors import Overloaded
from collector.fragment import Fragment
from collector.request import Request
from collector.spool.frame import FRAGMENTS, REQUESTS, pack
from collector.spool.journal import SEGMENT_BYTES, Journal, Reason, Taken
from collector.spool.place import Place, claim, claim_free, filled
from collector.spool.record import LARGEST_RECORD, Row, encode, encode_fragments
from collector.spool.segment import to_us

RETRY_AFTER_SECONDS = 30
"""What a sender waits when the spool is full: room comes back only when Postgres does."""

log = structlog.get_logger()


class Level(NamedTuple):
    """What is on the shelf: bytes, requests that were not yet replayed, and when the oldest of them was received."""

    size: int
    spans: int
    oldest_at: datetime | None


class _Held(NamedTuple):
    place: Place
    journal: Journal


class Shelf:
    """The first free directory below ``root``, with a lock on it.

    ``largest_bytes`` and ``longest_age`` are limits above which nothing more is taken; nothing is dropped for them.

    :raises OSError: when the directory cannot be used
    """

    def __init__(self, root: Path, largest_bytes: int, longest_age: timedelta, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._root = root
        self._largest_bytes = largest_bytes
        self._longest_age = longest_age
        self._segment_bytes = segment_bytes
        place = claim_free(root)
        self._own = _Held(place, Journal(place.directory, segment_bytes))
        self._left: list[_Held] = []
        self._replayed: _Held | None = None

    @property
    def level(self) -> Level:
        """What is on the shelf now."""
        journals = [held.journal for held in (self._own, *self._left)]
        oldest = min((journal.oldest_at for journal in journals if journal.oldest_at is not None), default=None)
        return Level(sum(journal.size for journal in journals), sum(journal.spans for journal in journals), oldest)

    def adopt(self) -> int:
        """Take over what dead workers left. Returns how many requests that are."""
        before = self.level.spans
        for directory in filled(self._root):
            try:
                held = _hold(directory, self._segment_bytes)
            except OSError as error:
                log.error("a directory of the spool cannot be taken over", directory=str(directory), reason=error.strerror)
                continue
            if held is not None:
                log.info("took over a directory of the spool", directory=str(directory), spans=held.journal.spans)
                self._left.append(held)
        return self.level.spans - before

    def append(self, requests: Sequence[Request], received_at: datetime, fragments: Sequence[Fragment] = ()) -> None:
        """Return once the requests and fragments are on disk.

        :raises Overloaded: when the spool is full, too old, or cannot be written; nothing was taken then
        """
        size, _, oldest_at = self.level
        if oldest_at is not None and received_at - oldest_at > self._longest_age:
            hours = (received_at - oldest_at) / timedelta(hours=1)
            raise Overloaded(f"the spool's oldest span has waited for {hours:.1f} h", RETRY_AFTER_SECONDS)
        at_us = to_us(received_at)
        records = [pack(REQUESTS, at_us, len(group), encode(group)) for group in _records(requests)]
        records += [pack(FRAGMENTS, at_us, len(group), encode_fragments(group)) for group in _records(fragments)]
        if size + sum(map(len, records)) > self._largest_bytes:
            raise Overloaded(f"the spool is full: {size} bytes", RETRY_AFTER_SECONDS)
        try:
            self._own.journal.append(records, len(requests), received_at, len(fragments))
        except OSError as error:
            raise Overloaded(f"the spool cannot be written: {error.strerror}", RETRY_AFTER_SECONDS) from error

    def take(self) -> Taken | None:
        """What is to be replayed next, the oldest first; ``None`` when nothing is left. Followed by `advance`.

        :raises OSError: when something has to be set aside and cannot be
        """
        waiting = [held for held in (self._own, *self._left) if held.journal.oldest_at is not None]
        if not waiting:
            return None
        self._replayed = min(waiting, key=_oldest)
        return self._replayed.journal.take()

    def advance(self, taken: Taken) -> int:
        """Be done with what was taken. Returns the requests that turned out to be in no readable record."""
        held = self._replayed
        assert held is not None
        unreadable = held.journal.advance(taken)
        if held is not self._own and held.journal.oldest_at is None:
            self._left.remove(held)
            held.journal.close()
            held.place.release()
        return unreadable

    def set_aside(self, reason: Reason, spans: int) -> None:
        """Keep the segment of what was taken for a person to look at.

        :raises OSError: when it cannot be kept
        """
        assert self._replayed is not None
        self._replayed.journal.set_aside(reason, spans, 0)

    def close(self) -> None:
        """Let go of all files and locks."""
        for place, journal in (self._own, *self._left):
            journal.close()
            place.release()


def _records(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """What goes into one record each."""
    return (rows[start : start + LARGEST_RECORD] for start in range(0, len(rows), LARGEST_RECORD))


def _hold(directory: Path, segment_bytes: int) -> _Held | None:
    """A directory that a dead worker left; ``None`` where its worker lives, or where nothing is left in it."""
    place = claim(directory)
    if place is None:
        return None
    try:
        journal = Journal(directory, segment_bytes)
    except OSError:
        place.release()
        raise
    if journal.oldest_at is None:
        journal.close()
        place.release()
        return None
    return _Held(place, journal)


def _oldest(held: _Held) -> datetime:
    assert held.journal.oldest_at is not None
    return held.journal.oldest_at
