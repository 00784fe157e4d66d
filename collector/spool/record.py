"""Requests, or fragments, as the payload of a record: MessagePack, compressed. Pure.

Requests go by field name, which makes a record readable by a later llm-slo whose Request has more fields with defaults. A
fragment's own payload says its version itself. Whatever else changes what a record means needs a new version and a reader for
the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import zstandard

from collector.fragment import Fragment
from collector.request import Request
from collector.spool.frame import FRAGMENTS, REQUESTS

VERSION = REQUESTS
LARGEST_RECORD = 1024
"""Requests or fragments of one record: what is decoded, and committed, at once."""

Row = TypeVar("Row", Request, Fragment)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Request])
_fragment_decoder = msgspec.msgpack.Decoder(list[Fragment])


class UnknownRecord(Exception):
    """A record that is whole and not of this version: written by another llm-slo. It is kept, and not read."""


def encode(requests: Sequence[Request]) -> bytes:
    """The payload of a record of requests."""
    return zstandard.ZstdCompressor(level=1).compress(_encoder.encode(list(requests)))


def encode_fragments(fragments: Sequence[Fragment]) -> bytes:
    """The payload of a record of fragments."""
    return zstandard.ZstdCompressor(level=1).compress(_encoder.encode(list(fragments)))


def decode(version: int, payload: bytes) -> list[Request]:
    """The requests of a record.

    :raises UnknownRecord: where this llm-slo cannot read it
    """
    if version != REQUESTS:
        raise UnknownRecord(f"version {version}: expected {REQUESTS}")
    return _read(_decoder, version, payload)


def decode_fragments(payload: bytes) -> list[Fragment]:
    """The fragments of a record.

    :raises UnknownRecord: where this llm-slo cannot read it
    """
    return _read(_fragment_decoder, FRAGMENTS, payload)


def _read(decoder: msgspec.msgpack.Decoder[list[Row]], version: int, payload: bytes) -> list[Row]:
    try:
        return decoder.decode(zstandard.ZstdDecompressor().decompress(payload))
    except (msgspec.MsgspecError, zstandard.ZstdError) as error:
        raise UnknownRecord(f"version {version}: {error}") from error
