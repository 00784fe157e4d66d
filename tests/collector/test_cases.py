"""Every capture, replayed whole, span by span and in shuffled order: one row per request, with the ending that it had."""

from __future__ import annotations

import asyncio
import csv
import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from collector.config import Config
from collector.daemon import policy_of
from collector.replay.account import Account
from collector.replay.replay import Replay
from collector.replay.row import row_of
from collector.replay.sink import Nowhere
from collector.request import Request
from tests.collector.example import now

DATA = Path(__file__).parent.parent / "data"
SPANS = DATA / "spans"
WAYS = ("whole", "span by span", "shuffled", "shuffled again")
FILES = sorted(path.name for path in SPANS.glob("*.jsonl"))
PLANTED = ("secret-prompt-text", "secret", "Tried to allocate", "maximum context length")


class Case(NamedTuple):
    """One trace of a capture, and what it was."""

    file: str
    trace_id: str
    case: str
    outcomes: tuple[str, ...]
    requests: int
    tenant: str
    tokens: str
    """Input, cached, output and reasoning tokens that the spans state, ``-`` for what they do not; empty: not looked at."""
    ttft: float | None
    """The least time to first token [s]; ``None``: not looked at."""


def cases() -> Iterator[Case]:
    lines = (line for line in (SPANS / "cases.tsv").read_text().splitlines() if not line.startswith("#"))
    for row in csv.DictReader(lines, delimiter="\t"):
        outcomes = tuple(row["outcome"].split("|"))
        ttft = float(row["ttft"]) if row["ttft"] else None
        tenant, tokens = row["tenant"] or "", row["tokens"] or ""
        yield Case(row["file"], row["trace_id"], row["case"], outcomes, int(row["requests"]), tenant, tokens, ttft)


CASES = list(cases())


def name_of(case: Case) -> str:
    return f"{case.file.split('.')[0]}-{case.case}-{case.trace_id[:6]}"


def spans_of(file: str) -> list[str]:
    """A capture's spans, a body with nothing else in it for each."""
    found = []
    for line in (SPANS / file).read_text().splitlines():
        for part in json.loads(line)["resourceSpans"]:
            for scope in part["scopeSpans"]:
                for span in scope["spans"]:
                    alone = part | {"scopeSpans": [scope | {"spans": [span]}]}
                    found.append(json.dumps({"resourceSpans": [alone]}))
    return found


def arranged(file: str, way: str) -> str:
    if way == "whole":
        return (SPANS / file).read_text()
    bodies = spans_of(file)
    if way != "span by span":
        random.Random(way).shuffle(bodies)
    return "\n".join(bodies)


@cache
def replayed(file: str, way: str) -> Account:
    faults: list[str] = []
    config = Config()
    with tempfile.TemporaryDirectory(prefix="llm-slo-cases-") as directory:
        path = Path(directory) / "spans.jsonl"
        path.write_text(arranged(file, way))
        replay = Replay(
            policy_of(config),
            Nowhere(),
            largest_body=config.limits.body_bytes,
            now=lambda: now() + LATER,
            complain=faults.append,
        )
        (account,) = asyncio.run(replay(path)).entries
    assert [] == faults
    assert isinstance(account, Account)
    return account


LATER = timedelta(days=1000)
"""A capture is older than retention when somebody replays it."""


def by_trace(file: str, way: str) -> dict[str, list[Request]]:
    found: dict[str, list[Request]] = defaultdict(list)
    for request in replayed(file, way).requests:
        found[request.trace_id.hex()].append(request)
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_call_of_a_capture_is_one_request_with_the_right_outcome_and_tenant(case: Case, way: str) -> None:
    found = by_trace(case.file, way)[case.trace_id]
    assert case.requests == len(found)
    assert {one.outcome.name.lower() for one in found} <= set(case.outcomes)
    if case.tenant:
        assert {case.tenant} == {one.tenant for one in found}


@pytest.mark.parametrize("case", [case for case in CASES if case.tokens], ids=name_of)
def test_tokens_of_a_call_are_those_that_its_spans_state(case: Case) -> None:
    (one,) = by_trace(case.file, "whole")[case.trace_id]
    counts = (one.input_tokens, one.cached_tokens, one.output_tokens, one.reasoning_tokens)
    assert case.tokens == "/".join("-" if count is None else str(count) for count in counts)


@pytest.mark.parametrize("case", [case for case in CASES if case.ttft is not None], ids=name_of)
def test_time_to_first_token_of_a_call_is_no_shorter_than_it_was(case: Case) -> None:
    (one,) = by_trace(case.file, "whole")[case.trace_id]
    assert one.ttft_seconds is not None
    assert case.ttft is not None
    assert case.ttft <= one.ttft_seconds <= (one.latency_seconds or 0.0)


@pytest.mark.parametrize("file", FILES)
def test_order_and_bodies_of_the_spans_make_no_difference(file: str) -> None:
    def rows(way: str) -> list[dict[str, Any]]:
        return sorted((row_of(one) for one in replayed(file, way).requests), key=lambda row: (row["trace_id"], row["span_id"]))

    for way in WAYS[1:]:
        assert rows("whole") == rows(way)


@pytest.mark.parametrize("file", FILES)
def test_ledger_of_a_capture_balances_and_nothing_in_it_is_rejected(file: str) -> None:
    account = replayed(file, "whole")
    assert len(spans_of(file)) == account.received
    assert account.received == account.rows + account.merged + account.ignored + account.duplicate
    assert {} == account.rejected


@pytest.mark.parametrize("file", FILES)
def test_no_prompt_or_error_text_of_a_capture_survives(file: str) -> None:
    kept = repr(replayed(file, "whole"))
    assert [] == [planted for planted in PLANTED if planted in kept]


def test_rows_of_vllm_are_what_its_clients_saw() -> None:
    rows: dict[str, list[Request]] = defaultdict(list)
    for request in replayed("vllm.otlp.jsonl", "whole").requests:
        assert request.request_id is not None
        # A batch of prompts is one call with several requests, numbered by the engine.
        base, _, number = request.request_id.rpartition("-")
        rows[base if number.isdigit() else request.request_id].append(request)
    calls = [json.loads(line) for line in (DATA / "vllm" / "requests.jsonl").read_text().splitlines()]
    seen = 0
    for call in calls:
        found, usage = rows.get(call.get("id", ""), []), call.get("usage")
        if not found or not usage:
            continue
        seen += len(found)
        details = usage.get("prompt_tokens_details") or {}
        # The Responses and Messages APIs name them otherwise.
        prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
        completion = usage.get("completion_tokens", usage.get("output_tokens"))
        assert completion == sum(one.output_tokens or 0 for one in found), call["label"]
        assert call["status"] == 200
        if len(found) == 1:
            (one,) = found
            assert (prompt, "ok") == (one.input_tokens, one.outcome.name.lower())
            # This version's spans do not say how much of the prompt was cached.
            assert one.cached_tokens in (None, details.get("cached_tokens"))
            if call.get("ttft_s") is not None:
                assert one.ttft_seconds is not None
                assert one.ttft_seconds <= call["ttft_s"]
    assert 230 <= seen <= 237
