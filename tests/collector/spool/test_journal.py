from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.spool.journal import Journal, Reason
from tests.collector.spool.example import AT, append, drain, numbers, record


@contextmanager
def opened(directory: Path, segment_bytes: int = 2**20) -> Iterator[Journal]:
    journal = Journal(directory, segment_bytes)
    try:
        yield journal
    finally:
        journal.close()


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.segment"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)


def test_replayed_segments_are_deleted_and_the_journal_is_empty(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=1) as journal:
        append(journal, 1, 2)
        append(journal, 3)
        assert (2, 3, AT) == (len(segments(tmp_path)), journal.spans, journal.oldest_at)
        assert [1, 2, 3] == drain(journal)
        assert (0, 0, None, []) == (journal.size, journal.spans, journal.oldest_at, segments(tmp_path))
        append(journal, 4)
        assert [4] == drain(journal)


def test_small_records_are_taken_together_unless_they_came_apart(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for number in range(4):
            append(journal, number, received_at=AT + number * timedelta(milliseconds=400))
        taken = journal.take()
        assert taken is not None
        assert (AT, [0, 1, 2]) == (taken.received_at, numbers(taken.requests))
        journal.advance(taken)
        assert AT + timedelta(milliseconds=1200) == journal.oldest_at


def test_torn_last_record_is_cut_off_and_what_follows_is_read(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 1)
    (path,) = segments(tmp_path)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(record(2)[:-1])
    with opened(tmp_path) as journal:
        assert (whole, 1) == (path.stat().st_size, journal.spans)
        append(journal, 3)
        assert [1, 3] == drain(journal)
    assert [] == list(tmp_path.glob("*.corrupt"))


def test_damaged_record_is_set_aside_and_the_others_are_replayed(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for number in range(3):
            append(journal, number, received_at=AT + timedelta(minutes=number))
    (path,) = segments(tmp_path)
    flip(path, len(record(0)) + len(record(1)) // 2)
    damaged = path.read_bytes()
    with opened(tmp_path) as journal:
        assert 3 == journal.spans
        taken = [journal.take()]
        while (last := taken[-1]) is not None:
            assert 0 == journal.advance(last)
            taken.append(journal.take())
        assert [[], [(Reason.CORRUPT, 1, 0)], []] == [list(one.set_aside) for one in taken if one]
        assert [[0], [], [2]] == [numbers(one.requests) for one in taken if one]
    assert [damaged] == [kept.read_bytes() for kept in tmp_path.glob("*.corrupt")]
    assert [] == segments(tmp_path)


def test_damage_while_it_runs_is_accounted_for_to_the_last_request(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 1, 2, 3)
        append(journal, 4)
        flip(segments(tmp_path)[0], 2)  # in the header: how many requests it held is not known any more
        taken = journal.take()
        assert taken is not None
        assert ([4], 1) == (numbers(taken.requests), taken.spans)
        assert 3 == journal.advance(taken)
        assert 0 == journal.spans


def test_segment_that_was_damaged_once_does_not_hide_the_next_one(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path) as journal:
            append(journal, 1)
            flip(segments(tmp_path)[0], 50)
            assert [] == drain(journal)
    assert 2 == len(list(tmp_path.glob("*.corrupt")))


def test_record_of_a_later_version_is_set_aside_and_read_by_whoever_knows_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append([record(1), record(2, version=9), record(3)], 3, AT)
        taken = journal.take()
        assert taken is not None
        assert ([1, 3], ((Reason.UNKNOWN_VERSION, 1, 0),)) == (numbers(taken.requests), taken.set_aside)
        journal.advance(taken)
    (kept,) = tmp_path.glob("*.unknown_version")
    assert record(1) + record(2, version=9) + record(3) == kept.read_bytes()


def test_segment_that_lost_its_end_does_not_end_the_replay(tmp_path: Path) -> None:
    with opened(tmp_path, segment_bytes=1) as journal:
        append(journal, 1)
        append(journal, 2)
        content = segments(tmp_path)[0].read_bytes()
        segments(tmp_path)[0].write_bytes(content[:20])
        assert [2] == drain(journal)
        assert 0 == journal.spans


def test_what_was_replayed_does_not_come_again_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 1)
        append(journal, 2, received_at=AT + timedelta(minutes=1))
        taken = journal.take()
        assert taken is not None
        journal.advance(taken)
    with opened(tmp_path) as journal:
        assert (1, AT + timedelta(minutes=1), [2]) == (journal.spans, journal.oldest_at, drain(journal))


def test_spoilt_cursor_makes_duplicates_and_loses_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        append(journal, 1)
        append(journal, 2, received_at=AT + timedelta(minutes=1))
        taken = journal.take()
        assert taken is not None
        journal.advance(taken)
    flip(tmp_path / "cursor", 9)
    with opened(tmp_path) as journal:
        assert [1, 2] == drain(journal)


def test_name_of_a_new_segment_is_on_disk_before_its_first_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, []

    def noted(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    with opened(tmp_path) as journal:
        monkeypatch.setattr("os.fsync", noted)
        append(journal, 1)
        append(journal, 2)
    assert [tmp_path.name, "00000001.segment", "00000001.segment"] == synced


def test_failed_fsync_acknowledges_nothing_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path) as journal:
        append(journal, 1)
        with monkeypatch.context() as patch:
            patch.setattr("collector.spool.journal.os.fsync", full)
            with pytest.raises(OSError, match="No space left"):
                append(journal, 2)
        assert len(record(1)) == segments(tmp_path)[0].stat().st_size
        append(journal, 3)
    with opened(tmp_path) as journal:
        assert [1, 3] == drain(journal)


class AppendReplayCrash(RuleBasedStateMachine):
    """What was acknowledged is replayed in its order; after a crash only what was not yet done with comes again."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="spool-"))
        self.journal = Journal(self.directory, segment_bytes=3_000)
        self.acknowledged: list[int] = []
        self.done = 0
        self.next = 0

    @rule(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3), late=st.booleans())
    def append(self, sizes: list[int], late: bool) -> None:
        records, first = [], self.next
        at = AT + timedelta(minutes=self.next if late else 0)
        for size in sizes:
            records.append(record(*range(self.next, self.next + size), received_at=at))
            self.next += size
        self.journal.append(records, self.next - first, at)
        self.acknowledged += range(first, self.next)

    @rule()
    def replay(self) -> None:
        taken = self.journal.take()
        if taken is None:
            assert self.done == len(self.acknowledged)
            return
        found = numbers(taken.requests)
        assert self.acknowledged[self.done : self.done + len(found)] == found
        assert 0 == self.journal.advance(taken)
        self.done += len(found)

    @rule()
    def crash(self) -> None:
        self.journal.close()
        self.journal = Journal(self.directory, segment_bytes=3_000)

    @rule()
    def crash_between_commit_and_cursor(self) -> None:
        self.journal.take()
        self.crash()

    @rule(share=st.floats(0.01, 0.99))
    def crash_in_an_append(self, share: float) -> None:
        last = max(self.directory.glob("*.segment"), default=self.directory / "99999999.segment")
        torn = record(1_000_000)
        with last.open("ab") as file:
            file.write(torn[: max(1, int(share * len(torn)))])
        self.crash()

    @precondition(lambda self: self.done < len(self.acknowledged))
    @rule()
    def crash_that_loses_the_cursor(self) -> None:
        (self.directory / "cursor").unlink()
        self.crash()
        taken = self.journal.take()
        assert taken is not None
        again = self.acknowledged.index(numbers(taken.requests)[0])
        assert again <= self.done
        self.done = again
        self.crash()

    @invariant()
    def pending_is_what_was_not_replayed(self) -> None:
        assert len(self.acknowledged) - self.done == self.journal.spans

    def teardown(self) -> None:
        assert self.acknowledged[self.done :] == drain(self.journal)
        assert [] == segments(self.directory)
        self.journal.close()
        shutil.rmtree(self.directory)


TestAppendReplayCrash = AppendReplayCrash.TestCase
TestAppendReplayCrash.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
