"""A file of telemetry: what it is, by its content and never by its name, and the bodies in it, one at a time.

A body is what a sender would have sent at once, and may be as large as that. A file may be compressed (gzip, zstd). It holds

- OTLP/JSON: a body a line, or bodies over several lines each;
- OTLP in protobuf: one body, or bodies with their length before them in four bytes, big-endian, each of which may be JSON or
  protobuf and compressed by itself (the OpenTelemetry Collector's file exporter writes all of these);
- or one page in the Prometheus text format.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import zstandard

from collector.errors import MalformedExposition
from collector.exposition import parse
from collector.otlp.http import Refused, decompress
from collector.replay.zstd import ZstdFile

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
EXPECTED = "OTLP/JSON, OTLP in protobuf, or the Prometheus text format"
_HEAD = 2**16
_LONGEST_SAMPLE = 4096
"""Characters of a line that may be a sample: a page's lines are short."""
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_JSON_START = re.compile(rb'\s*\{\s*"[A-Za-z]')
_QUOTED_SAMPLE = re.compile(rb'\{\s*"[^"]*"\s*[,}]')
_NEW_BODY = re.compile(rb'\s*\{\s*"resource(Spans|Logs|Metrics|_spans|_logs|_metrics)"')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[\[\]{}]")
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
_json = msgspec.json.Decoder(msgspec.Raw)


class Body(NamedTuple):
    """One OTLP body, and where in the file it is: ``line 3``, ``message 2``."""

    where: str
    data: bytes
    is_json: bool


class Page(NamedTuple):
    """One page of metrics."""

    text: str


class Broken(NamedTuple):
    """Something that is no body, where it is, and what was expected."""

    where: str
    why: str


class Shape(Enum):
    """How a file holds what it holds."""

    EMPTY = auto()
    TEXT = auto()
    """JSON."""
    MESSAGE = auto()
    """One protobuf body."""
    FRAMES = auto()
    """Bodies with their length before them."""
    PAGE = auto()
    UNKNOWN = auto()


def read(path: Path, limit: int) -> Iterator[Body | Page | Broken]:
    """Everything in a file, in its order. ``limit`` is the size of the largest body, decompressed [bytes].

    :raises OSError: for a file that cannot be read
    """
    with _opened(path) as stream:
        try:
            yield from _parts(stream, limit)
        except _DAMAGED as error:
            yield Broken("its end", f"a compressed file that is whole ({error})")


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader[Any]]:
    with ExitStack() as stack:
        stream = stack.enter_context(io.BufferedReader(io.FileIO(path), _HEAD))
        head = stream.peek(4)
        if head.startswith(GZIP):
            yield io.BufferedReader(_raw(stack.enter_context(gzip.GzipFile(fileobj=stream))), _HEAD)
        elif head.startswith(ZSTD):
            yield io.BufferedReader(ZstdFile(stream), _HEAD)
        else:
            yield stream


def _raw(file: gzip.GzipFile) -> io.RawIOBase:
    # A GzipFile reads like a raw file does; what its type lacks is never called.
    return file  # type: ignore[return-value]


def _parts(stream: io.BufferedReader[Any], limit: int) -> Iterator[Body | Page | Broken]:
    match shape_of(stream.peek(_HEAD)):
        case Shape.TEXT:
            yield from _documents(stream, limit)
        case Shape.FRAMES:
            yield from _frames(stream, limit)
        case Shape.EMPTY:
            yield Broken("", f"{EXPECTED}; it is empty")
        case Shape.UNKNOWN:
            yield Broken("line 1", EXPECTED)
        case shape:
            data = stream.read(limit + 1)
            if len(data) > limit:
                yield Broken("", _too_large(limit))
            else:
                yield Body("message 1", data, False) if shape is Shape.MESSAGE else Page(data.decode("utf-8", "replace"))


def shape_of(head: bytes) -> Shape:
    """What a file is, by its first bytes, decompressed."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    if not head.strip():
        return Shape.EMPTY
    # A length of less than 16 MB begins with a zero, and none that is believed begins with more than a few ones.
    if head[0] < 0x09:
        return Shape.FRAMES
    if not _JSON_START.match(head) and _CONTROL.search(head):
        return Shape.MESSAGE
    for line in head.splitlines():
        stripped = line.strip()
        if stripped.startswith(b"#") or _QUOTED_SAMPLE.match(stripped) or _is_sample(stripped):
            return Shape.PAGE
        if stripped.startswith((b"{", b"[")):
            return Shape.TEXT
    return Shape.UNKNOWN


def _is_sample(line: bytes) -> bool:
    if not line or len(line) > _LONGEST_SAMPLE or line.startswith(b"{"):
        return False
    try:
        return bool(parse(line.decode("utf-8", "replace")))
    except MalformedExposition:
        return False


def _documents(stream: BinaryIO, limit: int) -> Iterator[Body | Broken]:
    """Bodies in JSON: mostly one a line, but a person's tools like to spread them."""
    waiting, start, depth, lost = bytearray(), 0, 0, False
    for number, line in _lines(stream, limit):
        begins = line is not None and _NEW_BODY.match(line) is not None
        if waiting and begins:
            yield Body(f"line {start}", bytes(waiting), True)
        if begins or line is None:
            waiting.clear()
            lost = False
        if line is None:
            yield Broken(f"line {number}", _too_large(limit))
        elif not waiting and not lost:
            start, depth = number, _open_brackets(line)
            if depth > 0:
                waiting += line
            elif line.strip():
                yield Body(f"line {number}", line, True)
        elif waiting:
            waiting += line
            depth += _open_brackets(line)
            if len(waiting) > limit:
                yield Broken(f"line {start}", _too_large(limit))
                waiting.clear()
                lost = True
            elif depth <= 0:
                yield Body(f"line {start}", bytes(waiting), True)
                waiting.clear()
    if waiting:
        yield Body(f"line {start}", bytes(waiting), True)


def _open_brackets(line: bytes) -> int:
    """How many brackets a line opens and does not close; 0 for a line that is a whole document."""
    try:
        _json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _BRACKET.findall(_STRING.sub(b"", line))
        return sum(1 if bracket in b"{[" else -1 for bracket in found)
    return 0


def _lines(stream: BinaryIO, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers; ``None`` for one that is too long, of which no more than the limit is ever held."""
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) <= limit or line.endswith(b"\n"):
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            continue
        while (rest := stream.readline(_HEAD)) and not rest.endswith(b"\n"):
            pass
        yield number, None


def _frames(stream: BinaryIO, limit: int) -> Iterator[Body | Broken]:
    number = 0
    while length := stream.read(4):
        number += 1
        where, size = f"message {number}", int.from_bytes(length, "big")
        if len(length) == 4 and size > limit:
            while size > 0 and (skipped := stream.read(min(size, _HEAD))):
                size -= len(skipped)
            yield Broken(where, _too_large(limit))
            continue
        data = stream.read(size)
        if len(length) < 4 or len(data) < size:
            yield Broken(where, f"{size} bytes, as its length says; the file ends before")
            return
        yield _inflated(where, data, limit)


def _inflated(where: str, data: bytes, limit: int) -> Body | Broken:
    encoding = "zstd" if data.startswith(ZSTD) else "gzip" if data.startswith(GZIP) else "identity"
    try:
        plain = decompress(data, encoding, limit)
    except Refused as refused:
        return Broken(where, f"a body that can be decompressed: {refused}")
    return Body(where, plain, _JSON_START.match(plain) is not None)


def _too_large(limit: int) -> str:
    return f"at most {limit} bytes (limits.body_bytes)"
