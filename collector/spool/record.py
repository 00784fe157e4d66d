"""Requests as the payload of a record: MessagePack by field name, compressed. Pure.

Names make a record readable by a later llm-slo whose Request has more fields with defaults. Whatever else changes what a
record means needs a new ``VERSION`` and a reader for the old one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import zstandard

from collector.request import Request

VERSION = 1
LARGEST_RECORD = 1024
"""Requests of one record: what is decoded, and committed, at once."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Request])


class UnknownRecord(Exception):
    """A record that is whole and not of this version: written by another llm-slo. It is kept, and not read."""


def encode(requests: Sequence[Request]) -> bytes:
    """The payload of a record."""
    return zstandard.ZstdCompressor(level=1).compress(_encoder.encode(list(requests)))


def decode(version: int, payload: bytes) -> list[Request]:
    """The requests of a record.

    :raises UnknownRecord: where this llm-slo cannot read it
    """
    if version != VERSION:
        raise UnknownRecord(f"version {version}: expected {VERSION}")
    try:
        return _decoder.decode(zstandard.ZstdDecompressor().decompress(payload))
    except (msgspec.MsgspecError, zstandard.ZstdError) as error:
        raise UnknownRecord(f"version {version}: {error}") from error
