from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import Unstorable
from collector.fragment import Fragment
from collector.request import Request
from collector.spool.frame import FRAGMENTS, REQUESTS, scan
from collector.spool.record import UnknownRecord, decode, decode_fragments, encode_fragments
from collector.spool.replay import Batch
from tests.collector.spool.example import AT, requests
from tests.collector.spool.test_spool import Store, change, ledger, opened, replaying, until

FRAGMENT = st.builds(Fragment, st.text(st.characters(codec="utf-8")), st.binary(), st.binary(), st.binary(), st.floats(0, 99))


def fragments(*numbers: int) -> list[Fragment]:
    return [Fragment("acme", bytes(16), number.to_bytes(8, "big"), b"\x01payload") for number in numbers]


class Table(Store):
    """Stands in for Postgres, with what it does to the ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.fragments: list[Fragment] = []

    async def deliver(self, batch: Batch) -> None:
        if any(one.span_id[-1] == 13 for one in batch.fragments):
            raise Unstorable("no such value", 2)
        if batch.requests:
            await super().deliver(batch)
        self.fragments += batch.fragments


@given(st.lists(FRAGMENT, max_size=3))
def test_fragments_come_back_as_they_were(some: list[Fragment]) -> None:
    assert some == decode_fragments(encode_fragments(some))


def test_requests_and_fragments_are_not_taken_for_each_other() -> None:
    with pytest.raises(UnknownRecord):
        decode(FRAGMENTS, encode_fragments(fragments(1)))
    with pytest.raises(UnknownRecord):
        decode(REQUESTS, encode_fragments(fragments(1)))


async def test_fragments_are_delivered_and_count_only_when_they_are_closed(tmp_path: Path) -> None:
    table, before = Table(), ledger()
    async with opened(tmp_path) as spool:
        await spool.append(requests(1, 2), AT, fragments(7, 8))
        await spool.append((), AT, fragments(9))
        assert {"received": 2, "pending": 2} == change(before)
        async with replaying(spool, table):
            await until(lambda: len(table.fragments) == 3 and not list(tmp_path.glob("0/*.segment")))
    assert (fragments(7, 8, 9), [1, 2]) == (table.fragments, table.rows)
    assert {"received": 2, "rows": 2} == change(before)


async def test_fragments_of_a_dead_worker_are_delivered_by_the_next(tmp_path: Path) -> None:
    table, before = Table(), ledger()
    async with opened(tmp_path) as spool:
        await spool.append((), AT, fragments(7))
    async with opened(tmp_path) as spool, replaying(spool, table):
        await until(lambda: table.fragments == fragments(7))
    assert {} == change(before)


async def test_fragment_that_postgres_does_not_take_is_set_aside_alone(tmp_path: Path) -> None:
    table, before = Table(), ledger()
    async with opened(tmp_path) as spool:
        await spool.append((), AT, fragments(*range(10, 20)))
        async with replaying(spool, table):
            await until(lambda: len(table.fragments) == 9)
    assert {"received": 1, "rejected": 1} == change(before)
    assert 1 == len(list(tmp_path.glob("0/*.unstorable")))


async def test_damaged_record_of_fragments_counts_as_rejected(tmp_path: Path) -> None:
    table, before = Table(), ledger()
    async with opened(tmp_path) as spool:
        await spool.append(requests(1), AT, fragments(7, 8))
        (path,) = tmp_path.glob("0/*.segment")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        async with replaying(spool, table):
            await until(lambda: not change(before).get("pending"))
    assert {"received": 3, "rows": 1, "rejected": 2} == change(before)


async def test_a_body_is_one_record_of_each_kind(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(requests(1), AT, fragments(7, 8))
        (path,) = tmp_path.glob("0/*.segment")
        pieces = list(scan(path.read_bytes()))
    assert [(1, 0), (0, 2)] == [(piece.spans, piece.fragments) for piece in pieces]
    assert [Request, Fragment] == [type(requests(1)[0]), type(decode_fragments(pieces[1].payload)[0])]
