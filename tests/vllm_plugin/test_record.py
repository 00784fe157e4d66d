from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from llm_slo_vllm.record import ALONE, BESIDE, RequestRecords, record_of, scope_of, send, served_name
from llm_slo_vllm.sender import Sender
from llm_slo_vllm.setting import ENDPOINT, Setting, read_setting

from collector.assemble import assemble
from collector.config import Config
from collector.daemon import policy_of
from collector.ingest import allow_list
from collector.normalise import normalise
from collector.otlp.otlp_json import decode_json
from collector.request import ObservedBy, Outcome, Request
from tests.vllm_plugin.receiver import receiving

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
AT = int(NOW.timestamp()) * 1_000_000_000


def finished(**other: Any) -> SimpleNamespace:
    """A finished request, as vLLM 0.32 tells of it."""
    known = {
        "request_id": "chatcmpl-chat-warm-9a0970b8",
        "finish_reason": "length",
        "e2e_latency": 0.1665,
        "num_prompt_tokens": 740,
        "num_preemptions": 2,
        "num_generation_tokens": 32,
        "max_tokens_param": 32,
        "queued_time": 0.001,
        "prefill_time": 0.01,
        "decode_time": 0.1235,
        "num_cached_tokens": 640,
    }
    return SimpleNamespace(**known | other)


def row_of(body: dict[str, Any]) -> Request:
    """What llm-slo makes of a posted body."""
    policy = policy_of(Config())
    decoded = decode_json(json.dumps(body).encode(), allow_list(policy))
    assert [] == decoded.rejects
    (group,) = assemble(decoded.spans).groups
    row = normalise(group, policy, NOW + timedelta(seconds=1))
    assert isinstance(row, Request)
    return row


def test_a_record_becomes_an_engine_row_with_everything_that_vllm_knows() -> None:
    with receiving() as receiver:
        send(Setting(receiver.url, "vllm-0", "s3cret"), "tiny", [record_of(finished(), 1, AT)], 0)
    ((path, body, headers),) = receiver.bodies
    assert ("/v1/traces", "Bearer s3cret") == (path, headers["Authorization"])
    row = row_of(body)
    assert (ObservedBy.ENGINE, Outcome.OK, "tiny", "vllm-0") == (row.observed_by, row.outcome, row.model, row.replica)
    assert ("chatcmpl-chat-warm-9a0970b8", "length", 740, 640, 32, 32, 2) == (
        *(row.request_id, row.finish_reason, row.input_tokens, row.cached_tokens, row.output_tokens, row.max_tokens),
        row.preemptions,
    )
    assert (0.1665, 0.043, 0.001, 0.01, 0.1235) == (
        *(row.latency_seconds, pytest.approx(row.ttft_seconds), row.queue_seconds, row.prefill_seconds, row.decode_seconds),
    )
    assert (NOW, NOW - timedelta(seconds=0.1665)) == (row.ended_at, row.started_at)


def test_a_record_of_an_older_vllm_lacks_what_that_does_not_tell() -> None:
    older = SimpleNamespace(finish_reason="stop", e2e_latency=1.0, num_prompt_tokens=5, num_generation_tokens=3)
    keys = {part["key"] for part in record_of(older, 0, AT)["attributes"]}  # type: ignore[attr-defined]
    assert not keys & {"gen_ai.usage.cached_tokens", "llm_slo.preemptions", "gen_ai.request.id"}


def test_records_of_one_moment_have_ids_of_their_own_be_they_choices_of_one_request() -> None:
    one, two = record_of(finished(), 0, AT), record_of(finished(), 0, AT)
    assert (one["traceId"], one["spanId"]) != (two["traceId"], two["spanId"])


def test_a_record_without_an_id_is_kept_only_where_vllm_exports_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sender, "put", lambda self, record: sent.append(record))
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    for endpoint in (None, "http://127.0.0.1:4317"):
        sent: list[object] = []
        config = SimpleNamespace(observability_config=SimpleNamespace(otlp_traces_endpoint=endpoint))
        records = RequestRecords(config)
        records.record(None, SimpleNamespace(finished_requests=[finished(request_id=None), finished()]))
        assert (2 if endpoint is None else 1, 0) == (len(sent), records.failures)


def test_without_an_endpoint_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    records = RequestRecords(None)
    records.record(None, SimpleNamespace(finished_requests=[finished()]))
    assert 0 == records.failures


def test_no_exception_leaves_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    records = RequestRecords(SimpleNamespace(model_config=None))
    records.record(None, SimpleNamespace(finished_requests=3))
    records.record(None, None)
    assert 1 == records.failures


def test_the_first_served_name_is_the_models() -> None:
    config = SimpleNamespace(model_config=SimpleNamespace(served_model_name=["tiny", "alias"]))
    assert "tiny" == served_name(config)


def test_a_record_beside_vllms_own_span_says_so() -> None:
    with receiving() as receiver:
        for endpoint in (None, "http://127.0.0.1:4317"):
            config = SimpleNamespace(observability_config=SimpleNamespace(otlp_traces_endpoint=endpoint))
            send(Setting(receiver.url, "vllm-0"), "tiny", [record_of(finished(), 0, AT)], 0, scope_of(config))
    assert [False, True] == [row_of(body).is_beside for _, body, _ in receiver.bodies]
    assert (ALONE, BESIDE) == (scope_of(None), scope_of(config))


@pytest.mark.parametrize("endpoint", ["", "127.0.0.1:4318", "file:///etc/passwd"])
def test_an_endpoint_that_is_none_is_none(endpoint: str) -> None:
    assert read_setting({ENDPOINT: endpoint}) is None
