from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from collector.spool.frame import HEADER_BYTES, MAGIC, Kind, pack, scan

PAYLOADS = st.lists(st.binary(max_size=40) | st.just(MAGIC) | st.binary(max_size=8).map(lambda part: part + MAGIC), max_size=6)


def segment(payloads: list[bytes]) -> bytes:
    return b"".join(pack(1, 1_000 + number, number, payload) for number, payload in enumerate(payloads))


def whole(data: bytes) -> list[bytes]:
    return [piece.payload for piece in scan(data) if piece.kind is Kind.RECORD]


def kinds(data: bytes) -> list[Kind]:
    return [piece.kind for piece in scan(data)]


@given(PAYLOADS)
def test_what_was_written_is_read_with_its_header(payloads: list[bytes]) -> None:
    pieces = list(scan(segment(payloads)))
    assert payloads == [piece.payload for piece in pieces]
    assert [(1, 1_000 + number, number) for number in range(len(payloads))] == [
        (piece.header.version, piece.header.received_at_us, piece.spans) for piece in pieces if piece.header
    ]


@given(PAYLOADS, st.data())
def test_cut_off_anywhere_leaves_exactly_the_whole_records_before_it(payloads: list[bytes], data: st.DataObject) -> None:
    content = segment(payloads)
    at = data.draw(st.integers(0, len(content)))
    count, end = 0, 0
    while count < len(payloads) and end + HEADER_BYTES + len(payloads[count]) <= at:
        end += HEADER_BYTES + len(payloads[count])
        count += 1
    pieces = list(scan(content[:at]))
    assert payloads[:count] == [piece.payload for piece in pieces[:count]]
    assert ([] if at == end else [(Kind.TORN, end, at)]) == [(piece.kind, piece.start, piece.end) for piece in pieces[count:]]


@given(PAYLOADS.filter(bool), st.data())
def test_flipped_bits_of_one_byte_cost_the_record_that_they_are_in_and_no_other(
    payloads: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(segment(payloads))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    ends = [len(segment(payloads[: count + 1])) for count in range(len(payloads))]
    hit = next(number for number, end in enumerate(ends) if at < end)
    assert payloads[:hit] + payloads[hit + 1 :] == whole(bytes(content))
    expected = [Kind.RECORD] * len(payloads)
    expected[hit] = Kind.DAMAGED
    assert expected == kinds(bytes(content))


@given(PAYLOADS, st.binary(max_size=100), PAYLOADS)
@example([b"a"], MAGIC * 20, [b"b"])
def test_records_behind_garbage_are_found(before: list[bytes], garbage: bytes, after: list[bytes]) -> None:
    assert before + after == whole(segment(before) + garbage + segment(after))


@given(st.binary(max_size=300))
def test_pieces_of_anything_have_no_gaps(data: bytes) -> None:
    pieces = list(scan(data))
    assert [0, *(piece.end for piece in pieces)] == [*(piece.start for piece in pieces), len(data)]


def test_zeros_where_the_file_grew_and_nothing_was_written_are_a_torn_record() -> None:
    assert [Kind.RECORD, Kind.TORN] == kinds(segment([b"a"]) + bytes(5_000))


def test_damaged_payload_still_says_how_many_requests_it_held() -> None:
    content = bytearray(pack(1, 5, 77, b"payload"))
    content[-1] ^= 1
    assert [(Kind.DAMAGED, 77)] == [(piece.kind, piece.spans) for piece in scan(bytes(content))]
