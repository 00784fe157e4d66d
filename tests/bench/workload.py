"""Bodies as gateways send them: many producers' worth of names, and ids, counts and times that never come again."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPANS = 512
"""Of one body, as exporters batch them."""
TENANTS, MODELS, REPLICAS = 40, 5, 8
_LITELLM = Path(__file__).parents[1] / "data" / "spans" / "litellm-v2.otlp.jsonl"
_RESOURCE = {
    "service.name": "gateway",
    "service.instance.id": "gateway-0",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1.30.0",
    "deployment.environment.name": "production",
}
Value = str | int | float | list[str]


def gateway_body(seed: int, at: datetime | None = None) -> bytes:
    """One span a request, about a kilobyte with 25 attributes, by OpenTelemetry's conventions; the newest ends at ``at``."""
    choose = random.Random(seed)
    request = ExportTraceServiceRequest()
    part = request.resource_spans.add()
    part.resource.attributes.extend(_pair(key, value) for key, value in _RESOURCE.items())
    end_ns = _nanoseconds(at or datetime.now(UTC))
    scope = part.scope_spans.add(spans=[_gateway_span(number, end_ns - number * 1000, choose) for number in range(SPANS)])
    scope.scope.name, scope.scope.version = "some.gateway", "1.2"
    return request.SerializeToString()


def litellm_body(seed: int, at: datetime | None = None) -> tuple[bytes, int]:
    """Traces of LiteLLM's proxy as captured, one in twenty of a call that failed or fell back; and how many spans."""
    choose = random.Random(seed)
    end_ns = _nanoseconds(at or datetime.now(UTC))
    well, others = _captured()
    body = ExportTraceServiceRequest()
    spans = number = 0
    while spans < SPANS:
        trace = ExportTraceServiceRequest()
        number += 1
        trace.CopyFrom(well if number % 20 else choose.choice(others))
        spans += _renew(trace, end_ns - number * 1000, choose)
        body.resource_spans.extend(trace.resource_spans)
    return body.SerializeToString(), spans


def _gateway_span(number: int, end_ns: int, choose: random.Random) -> Span:
    tenant, model, prompt = number % TENANTS, number % MODELS, choose.randrange(20, 8000)
    replica = number % REPLICAS
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": f"model-{model}",
        "gen_ai.response.model": f"model-{model}",
        "gen_ai.response.id": f"chatcmpl-{choose.getrandbits(128):032x}",
        "llm_slo.request.id": f"{choose.getrandbits(96):024x}",
        "gen_ai.request.max_tokens": choose.choice([256, 512, 1024, 2048]),
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.top_p": 0.95,
        "gen_ai.response.finish_reasons": [choose.choice(["stop", "stop", "length"])],
        "gen_ai.usage.input_tokens": prompt,
        "gen_ai.usage.output_tokens": choose.randrange(1, 900),
        "gen_ai.usage.cache_read.input_tokens": prompt // 32 * 16,
        "gen_ai.response.time_to_first_chunk": choose.random(),
        "http.response.status_code": 200,
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "server.address": f"10.0.0.{replica}",
        "server.port": 8000,
        "tenant.id": f"tenant-{tenant}",
        "llm_slo.api_key.hash": f"{tenant * 7919:016x}",
        "llm_slo.api_key.alias": f"tenant-{tenant}-prod",
        "llm_slo.replica": f"vllm-{replica}",
        "user_agent.original": "OpenAI/Python 1.109.1",
    }
    return Span(
        trace_id=choose.randbytes(16),
        span_id=choose.randbytes(8),
        parent_span_id=choose.randbytes(8),
        flags=0x101,
        name="chat",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=end_ns - choose.randrange(10**8, 10**10),
        end_time_unix_nano=end_ns,
        attributes=[_pair(key, value) for key, value in attributes.items()],
    )


def _captured() -> tuple[ExportTraceServiceRequest, list[ExportTraceServiceRequest]]:
    """The trace of a call that went well, and those of others.

    Ids are in hex there, as OTLP/JSON has them, and in base64 where protobuf reads JSON.
    """
    traces = []
    for line in _LITELLM.read_text().splitlines():
        document = json.loads(line)
        for resource_spans in document["resourceSpans"]:
            for scope_spans in resource_spans["scopeSpans"]:
                for span in scope_spans["spans"]:
                    for key in ("traceId", "spanId", "parentSpanId"):
                        span[key] = base64.b64encode(bytes.fromhex(span.get(key, ""))).decode()
        traces.append(ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True))
    well = next(trace for trace in traces if b"error.type" not in trace.SerializeToString())
    return well, [trace for trace in traces if trace is not well]


def _renew(trace: ExportTraceServiceRequest, end_ns: int, choose: random.Random) -> int:
    """The same trace again, with ids and times of its own. Returns its spans."""
    spans = [span for part in trace.resource_spans for scope_spans in part.scope_spans for span in scope_spans.spans]
    trace_id, ids = choose.randbytes(16), {span.span_id: choose.randbytes(8) for span in spans}
    later = end_ns - max(span.end_time_unix_nano for span in spans)
    for span in spans:
        span.trace_id, span.span_id = trace_id, ids[span.span_id]
        span.parent_span_id = ids.get(span.parent_span_id, span.parent_span_id)
        span.start_time_unix_nano += later
        span.end_time_unix_nano += later
        for event in span.events:
            event.time_unix_nano += later
    return len(spans)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000


def _pair(key: str, value: Value) -> KeyValue:
    return KeyValue(key=key, value=_any(value))


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(_any, value)))
    return AnyValue(string_value=value)
