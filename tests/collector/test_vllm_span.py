"""vLLM's own spans, through decoding, assembly and normalisation: a row says exactly what its span said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from collector.assemble import assemble
from collector.config import Attributes
from collector.ingest import allow_list
from collector.normalise import Policy, normalise
from collector.otlp.otlp_json import decode_json
from collector.request import ObservedBy, Request

CAPTURE = Path(__file__).parent.parent / "data" / "spans" / "vllm.otlp.jsonl"
POLICY = Policy(
    retention=timedelta(days=100_000),
    engine_retention=timedelta(days=100_000),
    clock_skew=timedelta(days=100_000),
    cluster="default",
    environment="production",
    attributes=Attributes(),
)


def rows() -> list[Request]:
    """Every row of the capture. A trace per line, so a line is a body."""
    found = []
    for line in CAPTURE.read_bytes().splitlines():
        decoded = decode_json(line, allow_list(POLICY))
        assert [] == decoded.rejects
        for group in assemble(decoded.spans).groups:
            result = normalise(group, POLICY, datetime(2026, 11, 24, tzinfo=UTC))
            assert isinstance(result, Request), result
            found.append(result)
    return found


def test_vllm_capture_gives_one_engine_row_per_finished_sequence_and_nothing_for_start_up_spans() -> None:
    found = rows()
    assert {ObservedBy.ENGINE} == {one.observed_by for one in found}
    assert 237 == len(found)


def test_rows_of_vllm_equal_what_its_spans_say() -> None:
    stated = {}
    for line in CAPTURE.read_text().splitlines():
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
    kept = {one.span_id.hex(): (one.request_id, one.input_tokens, one.output_tokens, one.ttft_seconds) for one in rows()}
    assert stated == kept
