"""A real LiteLLM proxy before a real vLLM, with either way of writing spans: each call is one row, as its caller saw it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from collector.request import BillingFlag, Operation, Outcome, TokenProvenance
from demo.stage import Demo
from tests.e2e.litellm.case import CASES, PLANTED, WARM_UP
from tests.e2e.litellm.client import Seen
from tests.e2e.litellm.environment import ensure_litellm
from tests.e2e.litellm.fault import FIRST_TOKEN_SECONDS, FaultProxy
from tests.e2e.litellm.proxy import Spans, litellm
from tests.e2e.scene import files_with, query, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT_SECONDS = 120.0
ARRIVED_SECONDS = 30.0
CALLS = {case.name: case for case in (*WARM_UP, *CASES)}
ROWS = """
    SELECT requests.*, encode(trace_id, 'hex') AS trace, tenants.name AS tenant, models.name AS model,
           producers.dialect AS dialect, api_keys.hash AS api_key_hash
    FROM requests
        JOIN tenants ON tenants.id = tenant_id
        JOIN models ON models.id = model_id
        JOIN producers ON producers.id = producer_id
        LEFT JOIN api_keys ON api_keys.id = api_key_id
    WHERE started_at >= %s AND observed_by = 1
"""


class Expected(NamedTuple):
    """How a call ends, for its caller (``status``) and in its row."""

    outcome: Outcome
    status: int
    flags: BillingFlag = BillingFlag.NONE
    fallback_after: Outcome | None = None
    retries: int | None = None


WELL = (
    *("warm-up", "warm-up-stream", "warm-up-completion", "plain", "plain-again", "unsampled", "stream", "stream-untraced"),
    *("stream-late", "stream-usage-unasked", "choices", "completion", "cache-fill"),
)
ENDINGS = {
    **dict.fromkeys(WELL, Expected(Outcome.OK, 200)),
    "too-long": Expected(Outcome.VALIDATION, 400),
    "too-long-stream": Expected(Outcome.VALIDATION, 400),
    "no-such-model": Expected(Outcome.VALIDATION, 400),
    "no-such-key": Expected(Outcome.AUTH, 401),
    "rate-limit": Expected(Outcome.RATE_LIMIT, 429),
    "busy": Expected(Outcome.OVERLOAD, 503),
    "oom": Expected(Outcome.OOM, 500),
    "oom-untraced": Expected(Outcome.OOM, 500),
    "oom-stream": Expected(Outcome.OOM, 500),
    "timeout": Expected(Outcome.TIMEOUT, 408),
    "timeout-stream": Expected(Outcome.TIMEOUT, 408),
    "oom-midway": Expected(Outcome.OOM, 200),
    "reset-midway": Expected(Outcome.UNAVAILABLE, 200),
    **dict.fromkeys(("warm-up-fallback", "fallback"), Expected(Outcome.OK, 200, BillingFlag.FALLBACK, Outcome.OVERLOAD)),
    "fallback-stream": Expected(Outcome.OK, 200, BillingFlag.FALLBACK, Outcome.OOM),
    "fallback-late": Expected(Outcome.OK, 200, BillingFlag.FALLBACK, Outcome.TIMEOUT),
    "retry": Expected(Outcome.OK, 200, BillingFlag.RETRIED, retries=1),
}
APART = {
    Spans.V1: {"abort": Expected(Outcome.CANCELLED, 200), "cache-hit": Expected(Outcome.OK, 200, BillingFlag.GATEWAY_CACHE)},
    Spans.V2: {"abort": Expected(Outcome.OK, 200), "cache-hit": Expected(Outcome.OK, 200)},
}
"""What only v1 tells: that a caller left, and that an answer came from LiteLLM's own cache."""
BROKEN = ("abort", "oom-midway", "reset-midway")
"""Streams that ended before their usage came: what LiteLLM states is its own count, if anything."""

ELSEWHERE = ("choices", "cache-hit", "unsampled")
"""Calls that the engine has as several or as none; and vLLM leaves no span of a trace that is not sampled."""
UNTIMED = ("abort", *(case.name for case in WARM_UP))
"""LiteLLM sees that a caller has left when it has the next piece for it; and what it does first it does slowly."""


class Ran(NamedTuple):
    """What the client saw, and the rows of the same calls."""

    spans: Spans
    seen: tuple[Seen, ...]
    rows: tuple[Mapping[str, Any], ...]

    def rows_of(self, seen: Seen) -> list[Mapping[str, Any]]:
        """The rows of one call, by LiteLLM's id in the answer's header or by the caller's trace."""
        return [
            row
            for row in self.rows
            if (seen.call_id is not None and row["request_id"] == seen.call_id) or row["trace"] == seen.trace_id
        ]

    def pairs(self) -> list[tuple[Seen, Mapping[str, Any]]]:
        """Each call with its row."""
        return [(seen, self.rows_of(seen)[0]) for seen in self.seen]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=list(Spans), ids=lambda spans: str(spans.name).lower())
async def ran(demo: Demo, request: pytest.FixtureRequest) -> AsyncIterator[Ran]:
    """Every case once, with one way of writing spans."""
    spans: Spans = request.param
    python = await asyncio.to_thread(ensure_litellm, lambda step: print(step, flush=True))
    since, otlp = datetime.now(UTC), f"http://{demo.config.listen.otlp_http}"
    async with (
        FaultProxy(demo.engine.url).serve() as upstream,
        litellm(python, demo.directory, spans, upstream=upstream, otlp=otlp) as proxy,
    ):
        seen = await ask(proxy.url)
        # It runs on meanwhile: LiteLLM loses the spans that it has not sent when it stops.
        rows = await arrived(demo, since, seen)
    yield Ran(spans, seen, rows)


async def arrived(demo: Demo, since: datetime, seen: Sequence[Seen]) -> tuple[dict[str, Any], ...]:
    """The gateway's rows since a time, once there is one for each call and no span waits any more."""
    traces = {one.trace_id for one in seen} - {None}
    found: list[dict[str, Any]] = []

    async def whole() -> bool:
        every = await query(demo, ROWS, since)
        found[:] = (row for row in every if row["dialect"].startswith("litellm") or row["trace"] in traces)
        ((waiting,),) = [row.values() for row in await query(demo, "SELECT count(*) FROM fragments")]
        return len(found) >= len(seen) and waiting == 0

    await until(ARRIVED_SECONDS, whole, "rows are missing, or spans still wait")
    return tuple(found)


async def ask(url: str) -> tuple[Seen, ...]:
    """Make the calls, from a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.litellm.client", url), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(CLIENT_SECONDS):
        output, _ = await process.communicate()
    assert 0 == process.returncode
    return tuple(Seen(**json.loads(line)) for line in output.splitlines())


async def metrics(demo: Demo) -> str:
    """The daemon's own metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{demo.config.listen.web}/metrics") as response:
        return await response.text()


async def test_each_call_is_one_row(ran: Ran) -> None:
    assert list(CALLS) == [seen.case for seen in ran.seen]
    assert dict.fromkeys(CALLS, 1) == {seen.case: len(ran.rows_of(seen)) for seen in ran.seen}
    assert len(ran.seen) == len(ran.rows)


async def test_endings_are_what_callers_saw(ran: Ran) -> None:
    endings = {**ENDINGS, **APART[ran.spans]}
    assert {case: ending.status for case, ending in endings.items()} == {seen.case: seen.status for seen in ran.seen}
    of_interest = BillingFlag.FALLBACK | BillingFlag.RETRIED | BillingFlag.GATEWAY_CACHE
    found = {
        seen.case: Expected(
            Outcome(row["outcome"]),
            row["http_status"],
            BillingFlag(row["billing_flags"] & of_interest),
            None if row["fallback_after"] is None else Outcome(row["fallback_after"]),
            row["retries"],
        )
        for seen, row in ran.pairs()
    }
    assert endings == found


async def test_rows_say_who_asked_for_what(ran: Ran) -> None:
    known = {seen.case: row for seen, row in ran.pairs() if seen.case != "no-such-key"}
    assert {case: CALLS[case].key.removeprefix("sk-") for case in known} == {case: row["tenant"] for case, row in known.items()}
    assert [] == [case for case, row in known.items() if row["api_key_hash"] is None]
    assert {seen.case: CALLS[seen.case].model for seen in ran.seen} == {seen.case: row["model"] for seen, row in ran.pairs()}
    operations = {seen.case: Operation.COMPLETION if "completion" in seen.case else Operation.CHAT for seen in ran.seen}
    assert operations == {seen.case: Operation(row["operation"]) for seen, row in ran.pairs()}
    # v2 does not say it of an answer from its cache, nor of a call that failed before its first token.
    streams = {seen.case: row["stream"] for seen, row in ran.pairs() if row["stream"] is not None}
    assert {case: CALLS[case].stream for case in streams} == streams
    assert {seen.case for seen in ran.seen if seen.error is None} - {"cache-hit"} <= streams.keys()


async def test_tokens_are_those_of_the_usage_that_callers_saw(demo: Demo, ran: Ran) -> None:
    told = [(seen, row) for seen, row in ran.pairs() if seen.input_tokens is not None and seen.case != "cache-hit"]
    assert len(told) >= 12
    assert {seen.case: (seen.input_tokens, seen.cached_tokens or 0, seen.output_tokens) for seen, _ in told} == {
        seen.case: (row["input_tokens"], row["cached_tokens"] or 0, row["output_tokens"]) for seen, row in told
    }
    assert {TokenProvenance.REPORTED} == {TokenProvenance(row["token_provenance"]) for _, row in told}
    assert any(seen.cached_tokens for seen, _ in told)
    unasked = next(row for seen, row in ran.pairs() if seen.case == "stream-usage-unasked")
    asked = CALLS["stream-usage-unasked"].body["max_tokens"]
    assert (asked, TokenProvenance.REPORTED) == (unasked["output_tokens"], unasked["token_provenance"])
    broken = {seen.case: TokenProvenance(row["token_provenance"]) for seen, row in ran.pairs() if seen.case in BROKEN}
    assert set(broken.values()) <= {TokenProvenance.ESTIMATED, TokenProvenance.UNKNOWN}


async def test_times_are_those_of_callers(ran: Ran) -> None:
    pairs = ran.pairs()
    latencies = {seen.case: (seen.latency_seconds, row["latency_seconds"]) for seen, row in pairs if seen.case not in UNTIMED}
    assert {} == {case: pair for case, pair in latencies.items() if not near(*pair)}
    ttfts = {seen.case: (seen.ttft_seconds, row["ttft_seconds"]) for seen, row in pairs if seen.ttft_seconds is not None}
    if ran.spans is Spans.V1:  # it states it nowhere
        assert {None} == {row for _, row in ttfts.values()}
    else:
        assert {} == {case: pair for case, pair in ttfts.items() if case not in UNTIMED and not near(*pair)}
    assert {} == {seen.case: row["ttft_seconds"] for seen, row in pairs if seen.case not in ttfts and row["ttft_seconds"]}
    late = next(row for seen, row in pairs if seen.case == "stream-late")
    assert min(late["latency_seconds"], late["ttft_seconds"] or FIRST_TOKEN_SECONDS) >= FIRST_TOKEN_SECONDS
    print(f"{len(latencies)} latencies and {len(ttfts)} TTFTs within 50 ms or 5 %")


def near(client: float, row: float) -> bool:
    """Within 50 ms or 5 %, whichever is more."""
    return abs(client - row) <= max(0.05, 0.05 * client)


async def test_the_engine_saw_the_same_calls(demo: Demo, ran: Ran) -> None:
    """LiteLLM passes the caller's traceparent on, and vLLM counts what the caller was told."""
    calls = {
        seen.trace_id: row
        for seen, row in ran.pairs()
        if seen.trace_id is not None
        and row["outcome"] == Outcome.OK
        and not row["billing_flags"]
        and seen.case not in ELSEWHERE
    }
    assert len(calls) >= 8
    found = await query(
        demo,
        "SELECT encode(trace_id, 'hex') AS trace, count(*) AS rows, sum(input_tokens) AS input, sum(output_tokens) AS output"
        " FROM engine_requests WHERE encode(trace_id, 'hex') = ANY(%s) GROUP BY trace_id",
        list(calls),
    )
    assert {trace: (1, row["input_tokens"], row["output_tokens"]) for trace, row in calls.items()} == {
        row["trace"]: (row["rows"], row["input"], row["output"]) for row in found
    }


async def test_an_answer_from_the_cache_of_litellm_cost_the_engine_nothing(ran: Ran) -> None:
    seen, row = next((seen, row) for seen, row in ran.pairs() if seen.case == "cache-hit")
    stated = (seen.input_tokens, seen.output_tokens) if ran.spans is Spans.V1 else (None, None)
    assert stated == (row["input_tokens"], row["output_tokens"])


async def test_prompts_and_error_texts_are_nowhere(demo: Demo, ran: Ran) -> None:
    await query(demo, "SELECT pg_switch_wal()")
    for words in (PLANTED, "has a total capacity of 79.11 GiB"):
        assert [] == files_with(demo, words)
        assert words not in await metrics(demo)
