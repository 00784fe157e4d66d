"""From bytes to requests: against protobuf's own parse of the same bytes, and against doing it the naive way."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.assemble import assemble
from collector.config import Attributes
from collector.ingest import allow_list
from collector.normalise import Policy, normalise
from collector.otlp.decoder import Decoder
from tests.bench.measure import Ratio, cpu, ratio
from tests.bench.workload import SPANS, gateway_body, litellm_body

POLICY = Policy(
    retention=timedelta(days=100),
    engine_retention=timedelta(days=14),
    clock_skew=timedelta(hours=1),
    cluster="default",
    environment="production",
    attributes=Attributes(),
)
REPETITIONS, WARM, IN_A_ROW = 10, 2, 4


def compare() -> list[Ratio]:
    """Decode and normalise, without and with the assembly between them."""
    return [
        *_of("a gateway's spans", lambda seed: (gateway_body(seed), SPANS)),
        *_of("LiteLLM's traces", litellm_body),
    ]


def _of(name: str, make: Callable[[int], tuple[bytes, int]]) -> list[Ratio]:
    decode = Decoder(allow_list(POLICY))
    floor, naive, without, whole = [], [], [], []
    for number in range(WARM + REPETITIONS):
        # Bodies that nobody has seen, several in a row: ids, counts and times of each are its own.
        made = [make(number * IN_A_ROW + index) for index in range(IN_A_ROW)]
        bodies, spans = [body for body, _ in made], sum(size for _, size in made)
        floor.append(cpu(ExportTraceServiceRequest.FromString, bodies) / spans)
        assembling, rest = _read(decode, bodies)
        without.append(rest / spans)
        whole.append((rest + assembling) / spans)
        naive.append(cpu(naively, bodies[:1]) / made[0][1])
    measured = [seconds[WARM:] for seconds in (floor, naive, without, whole)]
    parse = "ParseFromString"
    return [
        ratio(f"{name}: decode and normalise", measured[2], parse, measured[0], items=1),
        ratio(f"{name}: with assembly", measured[3], parse, measured[0], items=1),
        ratio(f"{name}: decode and normalise, times faster", measured[2], "the naive way", measured[1], items=1, faster=True),
    ]


def _read(decode: Decoder, bodies: Sequence[bytes]) -> tuple[float, float]:
    """CPU seconds of assembling, and of everything else."""
    now = datetime.now(UTC)
    assembling = rest = 0.0
    for body in bodies:
        start = process_time()
        spans = decode(body).spans
        decoded = process_time()
        groups = assemble(spans, closing=False).groups
        assembled = process_time()
        for group in groups:
            normalise(group, POLICY, now)
        assembling += assembled - decoded
        rest += process_time() - assembled + decoded - start
    return assembling, rest


def naively(body: bytes) -> list[dict[str, Any]]:
    """What one writes first: protobuf's own dictionaries, then a dictionary a span. It checks, assembles and knows nothing."""
    document = MessageToDict(ExportTraceServiceRequest.FromString(body))
    rows = []
    for part in document["resourceSpans"]:
        resource = _plain(part.get("resource", {}))
        for scope_spans in part["scopeSpans"]:
            for span in scope_spans["spans"]:
                rows.append(_row(span, _plain(span), resource, scope_spans.get("scope", {})))
    return rows


def _plain(holder: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for pair in holder.get("attributes", ()):
        for kind, value in pair["value"].items():
            found[pair["key"]] = int(value) if kind == "intValue" else value
    return found


def _row(span: dict[str, Any], said: dict[str, Any], resource: dict[str, Any], scope: dict[str, Any]) -> dict[str, Any]:
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    tokens = [said.get(f"gen_ai.usage.{name}_tokens") for name in ("input", "output", "cache_read.input")]
    return {
        "trace_id": base64.b64decode(span["traceId"]),
        "span_id": base64.b64decode(span["spanId"]),
        "started_at": datetime.fromtimestamp(start / 1e9, UTC),
        "ended_at": datetime.fromtimestamp(end / 1e9, UTC),
        "latency_seconds": (end - start) / 1e9,
        "tenant": said.get("tenant.id", "unknown"),
        "environment": resource.get("deployment.environment.name"),
        "model": said.get("gen_ai.request.model"),
        "response_model": said.get("gen_ai.response.model"),
        "provider": said.get("gen_ai.provider.name"),
        "replica": said.get("llm_slo.replica"),
        "request_id": said.get("llm_slo.request.id"),
        "response_id": said.get("gen_ai.response.id"),
        "api_key_hash": said.get("llm_slo.api_key.hash"),
        "api_key_alias": said.get("llm_slo.api_key.alias"),
        "stream": said.get("gen_ai.request.stream"),
        "max_tokens": said.get("gen_ai.request.max_tokens"),
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "cached_tokens": tokens[2],
        "ttft_seconds": said.get("gen_ai.response.time_to_first_chunk"),
        "http_status": said.get("http.response.status_code"),
        "finish_reason": said.get("gen_ai.response.finish_reasons"),
        "error_type": said.get("error.type"),
        "producer": scope.get("name", ""),
    }
