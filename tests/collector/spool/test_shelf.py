from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from collector.errors import Overloaded
from collector.spool.record import LARGEST_RECORD
from collector.spool.shelf import Shelf
from tests.collector.spool.example import AT, numbers, requests


@contextmanager
def opened(root: Path, *, largest_bytes: int = 2**20, longest_age: timedelta = timedelta(hours=24)) -> Iterator[Shelf]:
    shelf = Shelf(root, largest_bytes, longest_age)
    try:
        yield shelf
    finally:
        shelf.close()


def append(shelf: Shelf, *some: int, received_at: datetime = AT) -> None:
    shelf.append(requests(*some), received_at)


def drain(shelf: Shelf) -> list[int]:
    found: list[int] = []
    while (taken := shelf.take()) is not None:
        found += numbers(taken.requests)
        shelf.advance(taken)
    return found


def directories(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_workers_beside_each_other_have_directories_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "data" / "spool"
    with opened(root) as one, opened(root) as other:
        append(one, 1)
        append(other, 2)
        assert ["0", "1"] == directories(root)
        assert (0, 0) == (one.adopt(), other.adopt())
        assert ([1], [2]) == (drain(one), drain(other))
    assert [0o700, 0o700] == [path.stat().st_mode & 0o777 for path in (root, root / "0")]


def test_what_a_dead_worker_left_is_taken_over_in_the_order_of_receipt(tmp_path: Path) -> None:
    with opened(tmp_path) as living:
        with opened(tmp_path) as dead:
            append(dead, 1)
            append(dead, 3, received_at=AT + timedelta(minutes=2))
        append(living, 2, received_at=AT + timedelta(minutes=1))
        assert 2 == living.adopt()
        assert (3, AT) == (living.level.spans, living.level.oldest_at)
        assert 0 == living.adopt()
        assert [1, 2, 3] == drain(living)
        with opened(tmp_path):  # the directory is free again
            assert ["0", "1"] == directories(tmp_path)


def test_restarted_worker_finds_its_own_directory(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        append(shelf, 1, 2)
    with opened(tmp_path) as shelf:
        assert (2, 0) == (shelf.level.spans, shelf.adopt())
        assert [1, 2] == drain(shelf)


def test_full_spool_takes_nothing_more_until_it_was_replayed(tmp_path: Path) -> None:
    with opened(tmp_path, largest_bytes=4_000) as shelf:
        size = 0
        for number in range(7):
            append(shelf, number)
            size = shelf.level.size
        assert 3_000 < size <= 4_000
        with pytest.raises(Overloaded, match=rf"the spool is full: {size} bytes") as full:
            append(shelf, 7, 8, 9)
        assert 30 == full.value.retry_after_seconds
        assert size == shelf.level.size
        assert list(range(7)) == drain(shelf)
        append(shelf, 1)


def test_old_spool_takes_nothing_more_and_drops_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, longest_age=timedelta(hours=2)) as shelf:
        append(shelf, 1)
        append(shelf, 2, received_at=AT + timedelta(hours=2))
        with pytest.raises(Overloaded, match=r"oldest span has waited for 3\.0 h"):
            append(shelf, 3, received_at=AT + timedelta(hours=3))
        assert [1, 2] == drain(shelf)


def test_large_body_is_replayed_in_parts_that_fit_a_transaction(tmp_path: Path) -> None:
    with opened(tmp_path) as shelf:
        append(shelf, *range(2 * LARGEST_RECORD + 5))
        sizes = []
        while (taken := shelf.take()) is not None:
            sizes.append(len(taken.requests))
            shelf.advance(taken)
    assert [LARGEST_RECORD, LARGEST_RECORD, 5] == sizes


def test_directory_that_cannot_be_opened_does_not_keep_others_from_being_taken_over(tmp_path: Path) -> None:
    with opened(tmp_path) as living:
        with opened(tmp_path) as dead:
            append(dead, 1)
        (tmp_path / "2" / "lock").mkdir(parents=True)
        (tmp_path / "2" / "00000001.segment").touch()
        assert 1 == living.adopt()
