"""Requests and records that the spool's tests start from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from collector.request import Request
from collector.spool.frame import pack
from collector.spool.journal import Journal
from collector.spool.record import VERSION, encode
from collector.spool.segment import to_us
from tests.collector.example import request

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def requests(*numbers: int) -> list[Request]:
    return [request(number, AT) for number in numbers]


def numbers(some: Iterable[Request]) -> list[int]:
    return [int.from_bytes(one.span_id, "big") for one in some]


def record(*some: int, received_at: datetime = AT, version: int = VERSION) -> bytes:
    return pack(version, to_us(received_at), len(some), encode(requests(*some)))


def append(journal: Journal, *some: int, received_at: datetime = AT) -> None:
    """One record."""
    journal.append([record(*some, received_at=received_at)], len(some), received_at)


def drain(journal: Journal) -> list[int]:
    """Replay everything. Returns the numbers of the requests."""
    found: list[int] = []
    while (taken := journal.take()) is not None:
        found += numbers(taken.requests)
        journal.advance(taken)
    return found
