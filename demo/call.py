"""One call through the gateway, and the OpenTelemetry GenAI span that says how it went. Prompts never come near it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from demo.answer import Answer

_LONGEST_MESSAGE = 512
_LONGEST_NAME = 256


@dataclass
class Call:
    """What the gateway learns of a call between its arrival and the last byte of the answer."""

    operation: str
    """gen_ai.operation.name: chat or text_completion."""
    request_id: str
    arrived: float
    """Of the monotonic clock, in seconds."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """The body of the request, of which only a few parameters are read."""
    tenant: str | None = None
    key_hash: str | None = None
    key_alias: str | None = None
    replica: str | None = None
    server: tuple[str, int] | None = None
    """Host and port that the call was passed on to."""
    status: int | None = None
    """That the caller got; None when the caller was gone before there was one."""
    ttft_seconds: float | None = None
    """From arrival until the first piece of a stream was written to the caller."""
    error_type: str | None = None
    error_message: str | None = None
    """Only of faults of the server, whose texts name their cause. A refusal's text can echo the prompt."""
    answer: Answer = field(default_factory=Answer)

    @property
    def stream(self) -> bool:
        """Whether the caller asked for a stream."""
        return self.parameters.get("stream") is True

    def saw_first_piece(self, now: float) -> None:
        """A piece of the answer was written; only the first one counts."""
        if self.ttft_seconds is None:
            self.ttft_seconds = now - self.arrived

    def fail(self, error_type: str, message: str | None = None) -> None:
        """Say how the call failed; the first failure is the cause of what follows and stays."""
        if self.error_type is None:
            self.error_type = error_type
            self.error_message = message


def parameters_of(body: bytes) -> Mapping[str, object]:
    """The request's body as an object; empty when it is none, which the server will refuse in its own words."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def end_span(span: Span, call: Call) -> None:
    """Write down what became of the call and end its span."""
    span.set_attributes(dict(_attributes(call)))
    if call.error_type is not None and (call.status is None or not 400 <= call.status < 500):
        message = None if call.error_message is None else call.error_message[:_LONGEST_MESSAGE]
        if call.error_type != "client_disconnected":
            span.set_status(Status(StatusCode.ERROR, message))
    span.end(time.time_ns())


def _attributes(call: Call) -> Iterator[tuple[str, AttributeValue]]:
    optional: dict[str, AttributeValue | None] = {
        "gen_ai.request.model": _name(call.parameters.get("model")),
        "gen_ai.request.max_tokens": _max_tokens(call.parameters),
        "gen_ai.request.choice.count": _several(_whole(call.parameters.get("n"))),
        "gen_ai.response.model": _name(call.answer.model),
        "gen_ai.response.id": _name(call.answer.response_id),
        "gen_ai.response.time_to_first_chunk": call.ttft_seconds,
        "gen_ai.usage.input_tokens": call.answer.input_tokens,
        "gen_ai.usage.output_tokens": call.answer.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": call.answer.cached_tokens,
        "http.response.status_code": call.status,
        "error.type": call.error_type,
        "tenant.id": call.tenant,
        "llm_slo.api_key.hash": call.key_hash,
        "llm_slo.api_key.alias": call.key_alias,
        "llm_slo.replica": call.replica,
        "server.address": call.server[0] if call.server else None,
        "server.port": call.server[1] if call.server else None,
    }
    yield "gen_ai.operation.name", call.operation
    yield "gen_ai.provider.name", "vllm"
    yield "gen_ai.request.stream", call.stream
    yield "llm_slo.request.id", call.request_id
    if call.answer.finish_reasons:
        yield "gen_ai.response.finish_reasons", [reason for _, reason in sorted(call.answer.finish_reasons.items())]
    for key, value in optional.items():
        if value is not None:
            yield key, value


def _max_tokens(parameters: Mapping[str, object]) -> int | None:
    current = _whole(parameters.get("max_completion_tokens"))
    return _whole(parameters.get("max_tokens")) if current is None else current


def _several(count: int | None) -> int | None:
    return count if count is not None and count > 1 else None


def _whole(value: object) -> int | None:
    # An OTLP integer has 64 bits, and a caller may write more digits.
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _name(value: object) -> str | None:
    return value[:_LONGEST_NAME] if isinstance(value, str) and value else None
