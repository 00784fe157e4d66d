from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.replay.capture import Body, Broken, Page, Shape, read, shape_of
from tests.collector.example import now
from tests.collector.log_body import log_body
from tests.collector.otlp_body import body, chat_span

LIMIT = 100_000
ONE, TWO = '{"resourceSpans": [{"scopeSpans": []}]}', '{"resourceLogs": []}'
PRETTY = json.dumps(json.loads(ONE), indent=2)
FLAT = json.dumps(json.loads(ONE), indent=0)
PROTOBUF = body([chat_span(number, now()) for number in range(3)], {"service.name": "gateway"})
PAGE = '# HELP vllm:num_requests_running Running\nvllm:num_requests_running{engine="0"} 3\n'


def framed(*bodies: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "big") + one for one in bodies)


def parts(tmp_path: Path, data: bytes, limit: int = LIMIT) -> list[Body | Page | Broken]:
    path = tmp_path / "misleading.txt"
    path.write_bytes(data)
    return list(read(path, limit))


def bodies(found: list[Body | Page | Broken]) -> list[tuple[str, object]]:
    """Where each body is, and what it says."""
    said: list[tuple[str, object]] = []
    for part in found:
        assert isinstance(part, Body), part
        said.append((part.where, json.loads(part.data) if part.is_json else part.data))
    return said


def as_it_is(data: bytes) -> bytes:
    return data


def unsized_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def two_frames_of_zstd(data: bytes) -> bytes:
    return zstandard.compress(data[:20]) + zstandard.compress(data[20:])


def two_members_of_gzip(data: bytes) -> bytes:
    return gzip.compress(data[:20]) + gzip.compress(data[20:])


@pytest.mark.parametrize(
    "compress", [as_it_is, gzip.compress, two_members_of_gzip, zstandard.compress, unsized_zstd, two_frames_of_zstd]
)
@pytest.mark.parametrize(
    ("data", "wheres"),
    [
        (f"{ONE}\n{TWO}\n".encode(), ["line 1", "line 2"]),
        (f"{ONE}\r\n\r\n{TWO}".encode(), ["line 1", "line 3"]),
        (f"\n\n{ONE}\n".encode(), ["line 3"]),
        (f"\ufeff{ONE}\n".encode(), ["line 1"]),
        (PRETTY.encode(), ["line 1"]),
        (FLAT.encode(), ["line 1"]),
        (f"{PRETTY}\n{PRETTY}\n{ONE}\n".encode(), ["line 1", "line 8", "line 15"]),
        (PROTOBUF, ["message 1"]),
        (framed(PROTOBUF, ONE.encode(), zstandard.compress(PROTOBUF)), ["message 1", "message 2", "message 3"]),
    ],
)
def test_bodies_are_found_by_content_however_the_file_is_compressed(
    tmp_path: Path, compress: Callable[[bytes], bytes], data: bytes, wheres: list[str]
) -> None:
    found = bodies(parts(tmp_path, compress(data)))
    assert wheres == [where for where, _ in found]
    assert {True} == {what in (json.loads(ONE), json.loads(TWO), PROTOBUF) for _, what in found}


@pytest.mark.parametrize("compress", [as_it_is, gzip.compress, zstandard.compress])
def test_page_is_found_by_content(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    assert [Page(PAGE)] == parts(tmp_path, compress(PAGE.encode()))


@pytest.mark.parametrize(
    ("shape", "head"),
    [
        (Shape.EMPTY, b" \n\t\n"),
        (Shape.PAGE, b"vllm:num_requests_running 3\n"),
        (Shape.PAGE, b'{"a.metric", engine="0"} 3\n'),
        (Shape.TEXT, b'{"resourceSpans":[{"reso\n'),
        (Shape.TEXT, b"not a line\n" + ONE.encode()),
        (Shape.TEXT, b"\n{\n"),
        (Shape.TEXT, b'{"resourceSpans": "\xff\x00"}'),
        # A resource of 123 bytes: what follows the tag reads as a brace.
        (Shape.MESSAGE, body([], {"k" * 40: "v" * 55})),
        (Shape.MESSAGE, log_body(["a line"], now())),
        (Shape.FRAMES, framed(PROTOBUF)),
        (Shape.UNKNOWN, b"<html>not found</html>"),
    ],
)
def test_shape_of_a_file_is_told_by_its_first_bytes(shape: Shape, head: bytes) -> None:
    assert shape is shape_of(head)


def test_resource_whose_length_reads_as_a_brace_is_there() -> None:
    assert b"\n{" == body([], {"k" * 40: "v" * 55})[:2]


def test_broken_line_is_a_body_of_its_own_and_the_others_count(tmp_path: Path) -> None:
    data = f'{{"resourceSpans":[{{"reso\n{ONE}\nnonsense\n{TWO}\n'.encode()
    assert ["line 1", "line 2", "line 3", "line 4"] == [part.where for part in parts(tmp_path, data) if isinstance(part, Body)]


def test_line_that_is_too_long_is_skipped_and_named(tmp_path: Path) -> None:
    long = b'{"resourceSpans": "' + b"x" * 3 * LIMIT + b'"}\n'
    first, second, third = parts(tmp_path, ONE.encode() + b"\n" + long + TWO.encode())
    assert Broken("line 2", f"at most {LIMIT} bytes (limits.body_bytes)") == second
    assert [("line 1", json.loads(ONE)), ("line 3", json.loads(TWO))] == bodies([first, third])


def test_document_over_many_lines_that_is_too_large_is_skipped_and_named(tmp_path: Path) -> None:
    large = '{\n"resourceSpans": [\n' + "1,\n" * LIMIT + "1]}\n"
    assert [Broken("line 1", f"at most {LIMIT} bytes (limits.body_bytes)")] == parts(tmp_path, large.encode())[:1]
    (_, last) = parts(tmp_path, f"{large}{ONE}\n".encode())
    assert [(f"line {LIMIT + 4}", json.loads(ONE))] == bodies([last])


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, unsized_zstd])
def test_bomb_costs_no_memory(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    found = parts(tmp_path, compress(ONE.encode() + b"\n" + b"[" * 50_000_000 + b"\n" + TWO.encode()))
    assert Broken("line 2", f"at most {LIMIT} bytes (limits.body_bytes)") == found[1]
    assert [("line 1", json.loads(ONE)), ("line 3", json.loads(TWO))] == bodies([found[0], found[2]])


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, unsized_zstd])
def test_compressed_file_that_was_cut_off_is_said_to_be(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    lines = "".join(f'{{"resourceSpans": [], "n": {number * 7919 % 10007}}}\n' for number in range(5000)).encode()
    found = parts(tmp_path, compress(lines)[:-5])
    last = found[-1]
    assert isinstance(last, Broken)
    assert "a compressed file that is whole" in last.why


def test_compressed_message_that_is_a_bomb_is_named_and_the_others_count(tmp_path: Path) -> None:
    data = framed(PROTOBUF, unsized_zstd(bytes(50_000_000)), PROTOBUF)
    first, second, third = parts(tmp_path, data)
    assert Broken("message 2", f"a body that can be decompressed: the body is larger than {LIMIT} bytes") == second
    assert [("message 1", PROTOBUF), ("message 3", PROTOBUF)] == bodies([first, third])


def test_message_that_is_too_large_is_named_and_the_others_count(tmp_path: Path) -> None:
    first, second, third = parts(tmp_path, framed(PROTOBUF, bytes(LIMIT + 1), PROTOBUF))
    assert Broken("message 2", f"at most {LIMIT} bytes (limits.body_bytes)") == second
    assert [("message 1", PROTOBUF), ("message 3", PROTOBUF)] == bodies([first, third])


@pytest.mark.parametrize("cut", [1, len(PROTOBUF) - 1, len(PROTOBUF) + 1])
def test_message_that_was_cut_off_is_named(tmp_path: Path, cut: int) -> None:
    first, second = parts(tmp_path, framed(PROTOBUF, PROTOBUF)[:-cut])
    assert [("message 1", PROTOBUF)] == bodies([first])
    assert isinstance(second, Broken)
    assert "message 2" == second.where


def test_one_message_larger_than_a_sender_may_send_is_refused(tmp_path: Path) -> None:
    assert [Broken("", "at most 100 bytes (limits.body_bytes)")] == parts(tmp_path, PROTOBUF, 100)


@given(st.binary(max_size=300))
def test_no_content_is_a_surprise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "surprise"
    path.write_bytes(data)
    assert all(isinstance(part, Body | Page | Broken) for part in read(path, 64))
