"""A record per finished request, as a span: tokens, cached tokens among them, phases, preemptions, finish reason."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from secrets import token_hex
from typing import Any

from llm_slo_vllm.post import attributes, now_ns, post
from llm_slo_vllm.sender import Record, Sender
from llm_slo_vllm.setting import Setting, read_setting

ALONE, BESIDE = "llm_slo.vllm", "llm_slo.vllm.beside"
"""Scopes of records: of a vLLM that exports no spans, and of one that does, where a record is not all that is told."""
POST_SECONDS = 5.0

try:
    from vllm.v1.metrics.loggers import StatLoggerBase
except ImportError:  # without vLLM, so that records can be made anywhere

    class StatLoggerBase:  # type: ignore[no-redef]
        """vLLM's base class of stat loggers."""


class RequestRecords(StatLoggerBase):  # type: ignore[misc]
    """A stat logger of vLLM. An exception in ``record`` would end the server's output loop, so none leaves it."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self.failures = 0
        self._sender: Sender | None = None
        try:
            setting = read_setting()
            if setting is not None:
                model, scope = served_name(vllm_config), scope_of(vllm_config)
                self._beside = scope == BESIDE
                self._engine = engine_index
                self._sender = Sender(lambda records, dropped: send(setting, model, records, dropped, scope))
        except Exception:
            self.failures += 1

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0, **_: Any
    ) -> None:
        """Called by vLLM after every step."""
        if self._sender is None or iteration_stats is None:
            return
        try:
            at = now_ns()
            for finished in iteration_stats.finished_requests:
                # Without an id it would never find the span that tells of the same request, and count it twice.
                if self._beside and getattr(finished, "request_id", None) is None:
                    continue
                self._sender.put(partial(record_of, finished, engine_idx, at))
        except Exception:
            self.failures += 1

    def log_engine_initialized(self) -> None:
        """Called by vLLM at its start."""

    def log(self) -> None:
        """Called by vLLM every few seconds."""


def record_of(finished: Any, engine: int, at_ns: int) -> Record:
    """One finished request as an OTLP span that ends now. Versions of vLLM differ in what they tell."""
    latency = float(finished.e2e_latency)
    decode = getattr(finished, "decode_time", None)
    start_ns = at_ns - int(latency * 1e9)
    # By chance: choices of one request that end in one step have everything in common. A batch that is sent again keeps them.
    id = token_hex(24)
    return {
        "traceId": id[:32],
        "spanId": id[32:48],
        "name": "request",
        "kind": 1,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(at_ns),
        "attributes": attributes(
            {
                "gen_ai.request.id": getattr(finished, "request_id", None),
                "llm_slo.engine": engine,
                "gen_ai.response.finish_reason": _word(getattr(finished, "finish_reason", None)),
                "gen_ai.usage.prompt_tokens": getattr(finished, "num_prompt_tokens", None),
                "gen_ai.usage.cached_tokens": getattr(finished, "num_cached_tokens", None),
                "gen_ai.usage.completion_tokens": getattr(finished, "num_generation_tokens", None),
                "gen_ai.request.max_tokens": getattr(finished, "max_tokens_param", None),
                "gen_ai.latency.e2e": latency,
                "gen_ai.latency.time_to_first_token": None if decode is None else max(0.0, latency - float(decode)),
                "gen_ai.latency.time_in_queue": getattr(finished, "queued_time", None),
                "gen_ai.latency.time_in_model_prefill": getattr(finished, "prefill_time", None),
                "gen_ai.latency.time_in_model_decode": decode,
                "llm_slo.preemptions": getattr(finished, "num_preemptions", None),
            }
        ),
    }


def send(setting: Setting, model: str | None, records: Sequence[Record], dropped: int, scope: str = ALONE) -> None:
    """Post records as one ExportTraceServiceRequest."""
    resource = attributes({"llm_slo.replica": setting.replica, "llm_slo.model": model})
    named = {"name": scope, "attributes": attributes({"llm_slo.dropped": dropped})}
    scope_spans = {"scope": named, "spans": list(records)}
    post(
        setting,
        "/v1/traces",
        {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [scope_spans]}]},
        POST_SECONDS,
    )


def served_name(vllm_config: Any) -> str | None:
    """The name that clients ask for."""
    name = getattr(getattr(vllm_config, "model_config", None), "served_model_name", None)
    first = name[0] if isinstance(name, list | tuple) and name else name
    return first if isinstance(first, str) else None


def scope_of(vllm_config: Any) -> str:
    """Whether vLLM exports spans of its own."""
    endpoint = getattr(getattr(vllm_config, "observability_config", None), "otlp_traces_endpoint", None)
    return BESIDE if endpoint else ALONE


def _word(reason: Any) -> str | None:
    """vLLM's finish reason, an enumeration whose text is the word."""
    return None if reason is None else str(reason).lower().rpartition(".")[2]
