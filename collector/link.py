"""Which rows tell of one call: an engine's row, and the gateway's or client's row that asks what happened inside. Pure.

Rows meet by the trace's id, which an engine that joined its caller's trace has, or by the id of the response, which is the id
that the engine gave the request. A trace of many calls is told apart by time: an engine works while its caller waits.

Our plugin inside vLLM tells of a sequence beside vLLM's own span of it. The two are twins, and become one row: they have the
request's id in common, and its latency to the last bit, which vLLM computes once for both.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from collector.request import ObservedBy, Request, TrafficClass

LASTS = timedelta(minutes=15)
"""How long a row waits for the other one."""
SLACK = timedelta(milliseconds=50)
"""How far an engine's time may reach over its caller's: clocks differ."""
BESIDE = 64
"""Calls of one trace that are looked at for one row of an engine, those that ended next: some senders use one trace for all."""
_CHOICE = re.compile(r"^(cmpl-.+)-\d{1,4}$")
"""vLLM numbers the prompts of one completion; the response has the id without the number."""
_TWIN = b"twin"
"""What the keys of twins begin with. Others have 16 bytes."""


class Row(NamedTuple):
    """The key of a row, and when its call was."""

    ended_at: datetime
    span_id: bytes
    trace_id: bytes
    tenant_id: int
    started_at: datetime


class Link(NamedTuple):
    """A row under something that it has in common with the other rows of its call."""

    key: bytes
    tells: bool
    row: Row


class Pair(NamedTuple):
    """A row that asks, and the engine's row that tells it."""

    asks: Row
    tells: Row
    twins: bool = False
    """Whether both are of one sequence, and from now on one row."""


class Key(NamedTuple):
    """What a request can be found by, and whether it tells whom it meets there, or asks."""

    key: bytes
    tells: bool


def keys_of(request: Request) -> Iterator[Key]:
    """What a request can be found by."""
    if request.observed_by is ObservedBy.ENGINE:
        # A trace of our own making is nobody else's.
        if request.dialect != "vllm_plugin" and not request.is_beside:
            yield Key(request.trace_id, True)
        if request.request_id:
            yield Key(_hash(_CHOICE.sub(r"\1", request.request_id)), True)
            if request.is_beside or request.dialect == "vllm":
                yield Key(_twin(request), request.is_beside)
    elif request.traffic_class is not TrafficClass.SYNTHETIC and not request.gateway_cache_hit:
        yield Key(request.trace_id, False)
        if request.response_id:
            yield Key(_hash(request.response_id), False)


def _twin(request: Request) -> bytes:
    said = (request.request_id, request.latency_seconds, request.input_tokens, request.output_tokens)
    return _TWIN + _hash(repr(said))


def is_twin(key: bytes) -> bool:
    """Whether rows that have this key in common are of one sequence."""
    return len(key) == len(_TWIN) + 16


def _hash(id: str) -> bytes:
    return sha256(id.encode()).digest()[:16]


def pair(links: Iterable[Link]) -> list[Pair]:
    """Each engine's row with the rows that it tells: those of its id, else those of its trace that waited while it worked.

    A gateway's row and the client's row around it are both told. Of calls beside each other in one trace only one is, the
    shortest that nobody has told yet. A row that finds nobody waits on. A row that finds its twin becomes part of it, which
    tells the others then.
    """
    asking: dict[bytes, list[Row]] = defaultdict(list)
    telling: dict[Row, list[bytes]] = defaultdict(list)
    for link in links:
        if link.tells:
            telling[link.row].append(link.key)
        else:
            asking[link.key].append(link.row)
    for asks in asking.values():
        asks.sort()
    pairs: list[Pair] = []
    told: set[Row] = set()
    for row, keys in sorted(telling.items()):
        twin = next((ask for key in keys if is_twin(key) for ask in asking.get(key, ()) if _may_be(ask, row, told)), None)
        if twin is not None:
            told.add(twin)
            pairs.append(Pair(twin, row, twins=True))
            continue
        same = {ask for key in keys if key != row.trace_id and not is_twin(key) for ask in asking.get(key, ())}
        asks = sorted(same) or _waiting(row, asking.get(row.trace_id, ()) if row.trace_id in keys else (), told)
        told.update(asks)
        pairs += [Pair(ask, row) for ask in asks]
    return pairs


def _may_be(twin: Row, row: Row, told: Set[Row]) -> bool:
    return twin not in told and twin.tenant_id == row.tenant_id


def _waiting(row: Row, asking: Sequence[Row], told: Set[Row]) -> list[Row]:
    next_to_end = bisect_left(asking, row.ended_at - SLACK, key=lambda ask: ask.ended_at)
    waited = [ask for ask in asking[next_to_end : next_to_end + BESIDE] if _is_inside(row, ask)]
    shortest = min(waited, key=lambda ask: (ask in told, ask.ended_at - ask.started_at, ask), default=None)
    return [] if shortest is None else [ask for ask in sorted(waited) if ask == shortest or _is_inside(shortest, ask)]


def _is_inside(row: Row, other: Row) -> bool:
    return other.started_at - SLACK <= row.started_at and row.ended_at <= other.ended_at + SLACK
