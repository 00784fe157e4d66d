"""Real telemetry, through decoding, assembly and normalising: one request per call, with the right ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from collector.assemble import assemble
from collector.config import Attributes
from collector.ingest import allow_list
from collector.normalise import Policy, normalise
from collector.otlp.otlp_json import decode_json
from collector.request import ObservedBy, Request

SPANS = Path(__file__).parent.parent / "data" / "spans"
FILES = ("blog-llm-complete.otlp.jsonl", "genai-openai-default.otlp.jsonl", "genai-openai-latest.otlp.jsonl")
POLICY = Policy(
    retention=timedelta(days=100_000),
    engine_retention=timedelta(days=100_000),
    clock_skew=timedelta(days=100_000),
    cluster="default",
    environment="production",
    attributes=Attributes(),
)


class Case(NamedTuple):
    """One trace of a capture, and what it was."""

    file: str
    trace_id: str
    case: str
    outcomes: tuple[str, ...]
    requests: int
    tenant: str


def cases() -> Iterator[Case]:
    lines = (line for line in (SPANS / "cases.tsv").read_text().splitlines() if not line.startswith("#"))
    for row in csv.DictReader(lines, delimiter="\t"):
        if row["file"] in FILES:
            outcomes = tuple(row["outcome"].split("|"))
            yield Case(row["file"], row["trace_id"], row["case"], outcomes, int(row["requests"]), row["tenant"] or "")


def requests_of(file: str) -> list[Request]:
    """Every row that a capture gives. A trace per line, so a line is a body."""
    found = []
    for line in (SPANS / file).read_bytes().splitlines():
        decoded = decode_json(line, allow_list(POLICY))
        assert [] == decoded.rejects
        for group in assemble(decoded.spans).groups:
            result = normalise(group, POLICY, datetime(2026, 11, 24, tzinfo=UTC))
            assert isinstance(result, Request), result
            found.append(result)
    return found


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case.file.split('.')[0]}-{case.case}-{case.trace_id[:6]}")
def test_call_of_a_capture_is_one_request_with_the_right_outcome_and_tenant(case: Case) -> None:
    found = [one for one in requests_of(case.file) if one.trace_id.hex() == case.trace_id]
    assert case.requests == len(found)
    assert {one.outcome.name.lower() for one in found} <= set(case.outcomes)
    if case.tenant:
        assert {case.tenant} == {one.tenant for one in found}


@pytest.mark.parametrize("file", FILES)
def test_no_prompt_or_error_text_survives(file: str) -> None:
    kept = repr(requests_of(file))
    for planted in ("secret", "Tried to allocate", "maximum context length"):
        assert planted not in kept


def test_vllm_capture_gives_one_engine_row_per_finished_sequence_and_nothing_for_start_up_spans() -> None:
    found = requests_of("vllm.otlp.jsonl")
    assert {ObservedBy.ENGINE} == {one.observed_by for one in found}
    assert 237 == len(found)


def test_rows_of_vllm_equal_what_its_spans_say() -> None:
    stated = {}
    for line in (SPANS / "vllm.otlp.jsonl").read_text().splitlines():
        for resource_spans in json.loads(line)["resourceSpans"]:
            for scope_spans in resource_spans["scopeSpans"]:
                for span in scope_spans["spans"]:
                    if span["name"] == "llm_request":
                        values = {part["key"]: next(iter(part["value"].values())) for part in span["attributes"]}
                        stated[span["spanId"]] = (
                            values["gen_ai.request.id"],
                            int(values["gen_ai.usage.prompt_tokens"]),
                            int(values["gen_ai.usage.completion_tokens"]),
                            values["gen_ai.latency.time_to_first_token"],
                        )
    rows = {
        one.span_id.hex(): (one.request_id, one.input_tokens, one.output_tokens, one.ttft_seconds)
        for one in requests_of("vllm.otlp.jsonl")
    }
    assert stated == rows
