"""Real traces of LiteLLM, cut into bodies anyhow and sent to two collectors, come to what they come to as a whole."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from collector.assemble import assemble
from collector.call import Call
from collector.dialects import recognise
from collector.ingest import FAILED_PATIENCE_SECONDS, allow_list
from collector.normalise import normalise
from collector.otlp.otlp_json import decode_json
from collector.request import Request
from collector.span import Span
from tests.collector.closing import POLICY, Clock, running, wait
from tests.collector.example import now, rows
from tests.conftest import Databases

SPANS = Path(__file__).parent.parent / "data" / "spans"
FILES = ("litellm-v1", "litellm-v1-reqspan", "litellm-v2")
COMPARED = (
    *("span_id", "started_at", "ended_at", "outcome", "http_status", "input_tokens", "cached_tokens", "output_tokens"),
    *("ttft_seconds", "latency_seconds", "request_id", "response_id", "finish_reason", "stream", "error_class"),
)


def traces() -> list[list[Span]]:
    """The traces of the captures, without the spans that are no part of a request."""
    found: dict[bytes, list[Span]] = defaultdict(list)
    for file in FILES:
        for line in (SPANS / f"{file}.otlp.jsonl").read_bytes().splitlines():
            for span in decode_json(line, allow_list(POLICY)).spans:
                found[span.trace_id].append(span)
    return list(found.values())


TRACES = traces()


@st.composite
def sendings(draw: st.DrawFn) -> list[tuple[int, list[Span]]]:
    """Bodies of a few traces in the order of their arrival, each with the collector that it goes to.

    Anything goes but one thing: an exporter sends a failed attempt when it has failed, which is before the next one is over.
    """
    spans = [span for trace in draw(st.lists(st.sampled_from(TRACES), min_size=1, max_size=4, unique_by=id)) for span in trace]
    order = draw(st.permutations(spans))
    order.sort(key=lambda span: not _is_failed_attempt(span))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=6)) | {0, len(order)})
    bodies = [order[start:end] for start, end in pairwise(cuts)]
    return [(draw(st.integers(0, 1)), body) for body in bodies]


def _is_failed_attempt(span: Span) -> bool:
    dialect = recognise(span)
    return dialect is not None and dialect.enclosed and Call(span, dialect).failed


def whole(spans: Sequence[Span]) -> list[tuple[object, ...]]:
    """What the spans come to when they are there at once."""
    found = [normalise(group, POLICY, now()) for group in assemble(spans).groups]
    requests = [asdict(one) for one in found if isinstance(one, Request)]
    return sorted((tuple(one[name] for name in COMPARED) for one in requests), key=repr)


async def sent(conninfo: str, bodies: Sequence[tuple[int, list[Span]]], directory: Path) -> list[tuple[object, ...]]:
    """What two collectors make of the bodies."""
    clock = Clock(now())
    async with (
        running(conninfo, clock, directory) as one,
        running(conninfo, clock, directory) as two,
        await AsyncConnection.connect(conninfo, autocommit=True) as look,
    ):
        for collector, body in bodies:
            await (one, two)[collector].send(*body)
            await wait(clock, look, timedelta(seconds=0.4))
            await (two, one)[collector].close()
        await wait(clock, look, timedelta(seconds=FAILED_PATIENCE_SECONDS + 6))
        await asyncio.gather(one.close(), two.close())
        await one.close()
        assert [] == await rows(look, "fragments", "span_id")
        found: list[tuple[Any, ...]] = await rows(look, "requests", ", ".join(COMPARED))
    return sorted((tuple(map(_plain, row)) for row in found), key=repr)


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


@settings(max_examples=15, phases=set(Phase) - {Phase.shrink})
@given(bodies=sendings())
def test_any_cut_of_real_traces_over_two_collectors_gives_the_rows_of_the_whole(
    databases: Databases, bodies: list[tuple[int, list[Span]]]
) -> None:
    with databases.fresh() as conninfo, TemporaryDirectory() as directory:
        found = asyncio.run(sent(conninfo, bodies, Path(directory)))
    expected = whole([span for _, body in bodies for span in body])
    assert expected == found


def test_captures_hold_what_the_test_is_about() -> None:
    assert 21 == len(TRACES)
    assert 19 < len([trace for trace in TRACES if len(whole(trace)) == 1])
