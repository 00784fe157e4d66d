"""What examples of several dialects have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

from collector.request import ObservedBy, Operation, Outcome
from collector.span import SpanKind
from tests.collector.dialects.sent import Sendable, Sent

GATEWAY, CLIENT, ENGINE = ObservedBy.GATEWAY, ObservedBy.CLIENT, ObservedBy.ENGINE
SERVER = SpanKind.SERVER
Row = dict[str, Any]


class Example(NamedTuple):
    sent: Sent
    row: Row | None


GEN_AI_KEYS: dict[str, Sendable] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "tiny",
    "gen_ai.response.model": "tiny-2",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 40,
    "gen_ai.usage.output_tokens": 19,
}
TOKENS: Row = {"input_tokens": 40, "output_tokens": 19}
CHAT: Row = {
    **TOKENS,
    "requested_model": "tiny",
    "response_model": "tiny-2",
    "response_id": "chatcmpl-1",
    "finish_reason": "stop",
    "operation": Operation.CHAT,
    "outcome": Outcome.OK,
}
PROVIDER: dict[str, Sendable] = {"gen_ai.provider.name": "vllm"}
