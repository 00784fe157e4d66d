"""All that can be wrong with a span, sent to a collector: each is counted by its reason, and the rest of the body lands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import aiohttp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import REGISTRY
from psycopg import AsyncConnection

from collector.request import RejectReason
from tests.collector.example import now, rows
from tests.collector.otlp_body import attribute, body, chat_span
from tests.collector.test_daemon import HEADERS, configuration, running

TOKENS, TTFT = "gen_ai__usage__input_tokens", "gen_ai__response__time_to_first_chunk"


def bad_spans() -> list[tuple[RejectReason, Span]]:
    at = now()
    zero_id, backwards, long, not_utf8 = (chat_span(number, at) for number in range(1, 5))
    zero_id.trace_id = bytes(16)
    backwards.start_time_unix_nano = backwards.end_time_unix_nano + 1
    long.attributes.append(attribute("tenant.id", "x" * 10_000_000))
    not_utf8.attributes.append(attribute("tenant.id", "BAD"))
    return [
        (RejectReason.ZERO_ID, zero_id),
        (RejectReason.END_BEFORE_START, backwards),
        (RejectReason.TOO_LARGE, long),
        (RejectReason.WRONG_TYPE, not_utf8),
        (RejectReason.OUTSIDE_RETENTION, chat_span(5, at - timedelta(days=365))),
        (RejectReason.IN_THE_FUTURE, chat_span(6, at + timedelta(hours=2))),
        (RejectReason.NEGATIVE_TOKENS, chat_span(7, at, **{TOKENS: -1})),
        (RejectReason.ABSURD_TOKENS, chat_span(8, at, **{TOKENS: 10**12})),
        (RejectReason.WRONG_TYPE, chat_span(9, at, **{TOKENS: "many"})),
        (RejectReason.NOT_A_DURATION, chat_span(10, at, **{TTFT: -1.0})),
    ]


def counted() -> dict[RejectReason, float]:
    name = "llm_slo_spans_rejected_total"
    return {reason: REGISTRY.get_sample_value(name, {"reason": reason.value}) or 0 for reason in RejectReason}


async def test_everything_that_is_wrong_costs_its_own_span_and_is_counted_by_its_reason(
    database: str, connection: AsyncConnection[Any]
) -> None:
    config, bad = configuration(), bad_spans()
    data = body([chat_span(0, now()), *(span for _, span in bad), chat_span(99, now())]).replace(b"BAD", b"B\xffD")
    before = counted()
    async with running(config, database), aiohttp.ClientSession() as session:
        url = f"http://{config.listen.otlp_http}/v1/traces"
        async with session.post(url, data=data, headers=HEADERS) as response:
            answer = ExportTraceServiceResponse.FromString(await response.read())
        assert (200, len(bad)) == (response.status, answer.partial_success.rejected_spans)
        change = {reason: int(count - before[reason]) for reason, count in counted().items() if count != before[reason]}
    wrong = [reason for reason, _ in bad]
    assert {reason: wrong.count(reason) for reason in wrong} == change
    assert [(2,)] == await rows(connection, "requests", "count(*)")
