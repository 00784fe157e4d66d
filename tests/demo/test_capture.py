"""Spans that the demo's gateway really sent, through the collector: each call's row has the right ending."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.assemble import assemble
from collector.config import Attributes
from collector.ingest import allow_list
from collector.normalise import Policy, normalise
from collector.otlp.otlp_json import decode_json
from collector.request import ObservedBy, Outcome, Request

CAPTURE = Path(__file__).parent.parent / "data" / "spans" / "demo-gateway.otlp.jsonl"
POLICY = Policy(
    retention=timedelta(days=100_000),
    engine_retention=timedelta(days=100_000),
    clock_skew=timedelta(days=100_000),
    cluster="default",
    environment="demo",
    attributes=Attributes(),
)
OUTCOMES = {
    None: Outcome.OK,
    "400": Outcome.VALIDATION,
    "404": Outcome.VALIDATION,
    "invalid_api_key": Outcome.AUTH,
    "rate_limit_exceeded": Outcome.RATE_LIMIT,
    "timeout": Outcome.TIMEOUT,
    "client_disconnected": Outcome.CANCELLED,
    "upstream_unavailable": Outcome.UNAVAILABLE,
    "500": Outcome.UNAVAILABLE,  # its text says that the engine died
}


def requests() -> Iterator[Request]:
    for line in CAPTURE.read_bytes().splitlines():
        decoded = decode_json(line, allow_list(POLICY))
        assert [] == decoded.rejects
        for group in assemble(decoded.spans).groups:
            result = normalise(group, POLICY, datetime(2026, 11, 24, tzinfo=UTC))
            assert isinstance(result, Request), result
            yield result


def error_types() -> Mapping[str, str | None]:
    """By span id."""
    found: dict[str, str | None] = {}
    for line in CAPTURE.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
                values = {one["key"]: one["value"] for one in span["attributes"]}
                found[span["spanId"]] = values.get("error.type", {}).get("stringValue")
    return found


def test_every_span_is_one_row_with_the_outcome_that_was_caused() -> None:
    expected = {span: OUTCOMES[error] for span, error in error_types().items()}
    assert expected == {row.span_id.hex(): row.outcome for row in requests()}
    assert set(OUTCOMES.values()) == set(expected.values())


def test_rows_are_the_gateways_and_know_tenant_replica_and_tokens() -> None:
    ok = [row for row in requests() if row.outcome is Outcome.OK]
    assert {ObservedBy.GATEWAY} == {row.observed_by for row in ok}
    assert {"acme", "globex", "initech"} == {row.tenant for row in ok}
    assert {"vllm-0"} == {row.replica for row in ok}
    assert all(row.input_tokens and row.output_tokens for row in ok)


@pytest.mark.parametrize("stream", [True, False])
def test_only_streams_have_a_time_to_first_token(stream: bool) -> None:
    found = {row.ttft_seconds is not None for row in requests() if row.outcome is Outcome.OK and row.stream is stream}
    assert {stream} == found
