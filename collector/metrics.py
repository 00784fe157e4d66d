"""Every engine metric that is kept: our name, its kind and unit, and all the names it has had.

An engine that renames a metric costs one entry here and nothing anywhere else: the snapshot's columns, the boards, the
reports and the alerts are built from these objects, never from a string with a name in it.

A source is written as the engine writes it, without the engine's prefix and without a counter's ``_total``; a label in
braces selects one series of a family that is split by that label. The first source that is present wins.
Sources: vLLM 0.11.0 to 0.32.0, read in its ``v1/metrics/loggers.py`` and measured on 0.27.1, 0.30.0 and 0.32.0.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How values of a family behave over time."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Source(NamedTuple):
    """Where an engine says it: a metric name without prefix and suffix, and the label value that selects the series."""

    name: str
    label: str = ""
    value: str = ""


class Family(NamedTuple):
    """One engine metric under our name, which is also its column in ``snapshots``."""

    name: str
    kind: Kind
    unit: str
    help: str
    vllm: tuple[Source, ...] = ()


_SOURCE = re.compile(r'(?P<name>[a-zA-Z0-9_:]+)(\{(?P<label>[a-z_]+)="(?P<value>[^"]*)"\})?')


def _sources(texts: tuple[str, ...]) -> tuple[Source, ...]:
    sources = []
    for text in texts:
        match = _SOURCE.fullmatch(text)
        if match is None:
            raise ValueError(f'metric source {text!r} is not NAME or NAME{{label="value"}}')
        sources.append(Source(match["name"], match["label"] or "", match["value"] or ""))
    return tuple(sources)


def _gauge(name: str, unit: str, help: str, *vllm: str) -> Family:
    return Family(name, Kind.GAUGE, unit, help, _sources(vllm))


def _counter(name: str, unit: str, help: str, *vllm: str) -> Family:
    return Family(name, Kind.COUNTER, unit, help, _sources(vllm))


def _histogram(name: str, unit: str, help: str, *vllm: str) -> Family:
    return Family(name, Kind.HISTOGRAM, unit, help, _sources(vllm))


# Load
REQUESTS_RUNNING = _gauge("requests_running", "requests", "Requests in the running batch", "num_requests_running")
REQUESTS_WAITING = _gauge("requests_waiting", "requests", "Requests waiting to be scheduled", "num_requests_waiting")
REQUESTS_WAITING_CAPACITY = _gauge(
    "requests_waiting_capacity",
    "requests",
    "Waiting for room in the batch or the KV cache",
    'num_requests_waiting_by_reason{reason="capacity"}',
)
REQUESTS_WAITING_DEFERRED = _gauge(
    "requests_waiting_deferred",
    "requests",
    "Waiting for something passing: a LoRA slot, a KV transfer",
    'num_requests_waiting_by_reason{reason="deferred"}',
)
REQUESTS_SWAPPED = _gauge(
    "requests_swapped", "requests", "Requests swapped out to host memory (engines before vLLM's V1)", "num_requests_swapped"
)
KV_CACHE_USAGE = _gauge(
    "kv_cache_usage_ratio", "ratio", "KV-cache blocks in use, 0 to 1", "kv_cache_usage_perc", "gpu_cache_usage_perc"
)
ENGINE_AWAKE = _gauge("engine_awake", "bool", "1 when the engine is not sleeping", 'engine_sleep_state{sleep_state="awake"}')

# Tokens and requests
PROMPT_TOKENS = _counter("prompt_tokens", "tokens", "Prompt tokens; with n choices a prompt counts n times", "prompt_tokens")
GENERATION_TOKENS = _counter("generation_tokens", "tokens", "Tokens generated", "generation_tokens")
PROMPT_TOKENS_CACHED = _counter(
    "prompt_tokens_cached", "tokens", "Prompt tokens taken from a cache, local or external", "prompt_tokens_cached"
)
PROMPT_TOKENS_LOCAL_COMPUTE = _counter(
    "prompt_tokens_local_compute", "tokens", "Prompt tokens computed here", 'prompt_tokens_by_source{source="local_compute"}'
)
PROMPT_TOKENS_LOCAL_CACHE_HIT = _counter(
    "prompt_tokens_local_cache_hit",
    "tokens",
    "Prompt tokens from this engine's own cache",
    'prompt_tokens_by_source{source="local_cache_hit"}',
)
PROMPT_TOKENS_EXTERNAL_KV_TRANSFER = _counter(
    "prompt_tokens_external_kv_transfer",
    "tokens",
    "Prompt tokens received from another engine's KV cache",
    'prompt_tokens_by_source{source="external_kv_transfer"}',
)
PROMPT_TOKENS_CACHED_DEVICE = _counter(
    "prompt_tokens_cached_device",
    "tokens",
    "Cache hits served from device memory",
    'prompt_tokens_cached_by_source{source="device"}',
)
PROMPT_TOKENS_CACHED_HOST = _counter(
    "prompt_tokens_cached_host", "tokens", "Cache hits served from host memory", 'prompt_tokens_cached_by_source{source="host"}'
)
PROMPT_TOKENS_CACHED_P2P = _counter(
    "prompt_tokens_cached_p2p",
    "tokens",
    "Cache hits served by another instance",
    'prompt_tokens_cached_by_source{source="p2p"}',
)
PROMPT_TOKENS_CACHED_DISK = _counter(
    "prompt_tokens_cached_disk", "tokens", "Cache hits served from disk", 'prompt_tokens_cached_by_source{source="disk"}'
)
PROMPT_TOKENS_CACHED_EXTERNAL = _counter(
    "prompt_tokens_cached_external",
    "tokens",
    "Cache hits from an external store that names no tier",
    'prompt_tokens_cached_by_source{source="external_unspecified"}',
)
PROMPT_TOKENS_RECOMPUTED = _counter(
    "prompt_tokens_recomputed", "tokens", "Cached prompt tokens computed again (vLLM 0.17 to 0.19)", "prompt_tokens_recomputed"
)
REQUESTS_STOP = _counter(
    "requests_finished_stop", "requests", "Finished at a stop token", 'request_success{finished_reason="stop"}'
)
REQUESTS_LENGTH = _counter(
    "requests_finished_length", "requests", "Finished at the token limit", 'request_success{finished_reason="length"}'
)
REQUESTS_ABORT = _counter(
    "requests_finished_abort",
    "requests",
    "Aborted by the engine (a client's disconnect is not counted by vLLM)",
    'request_success{finished_reason="abort"}',
)
REQUESTS_ERROR = _counter(
    "requests_finished_error",
    "requests",
    "Finished with an error (stayed 0 in every crash measured)",
    'request_success{finished_reason="error"}',
)
REQUESTS_REPETITION = _counter(
    "requests_finished_repetition",
    "requests",
    "Stopped for repeating itself",
    'request_success{finished_reason="repetition"}',
)
CORRUPTED_REQUESTS = _counter("corrupted_requests", "requests", "Requests with NaN logits", "corrupted_requests")
PREEMPTIONS = _counter("preemptions", "preemptions", "Requests thrown out of the batch for lack of KV cache", "num_preemptions")

# Caches
PREFIX_CACHE_QUERIES = _counter(
    "prefix_cache_queries",
    "tokens",
    "Prompt tokens looked up in the prefix cache",
    "prefix_cache_queries",
    "gpu_prefix_cache_queries",
)
PREFIX_CACHE_HITS = _counter(
    "prefix_cache_hits", "tokens", "Prompt tokens found in the prefix cache", "prefix_cache_hits", "gpu_prefix_cache_hits"
)
EXTERNAL_PREFIX_CACHE_QUERIES = _counter(
    "external_prefix_cache_queries",
    "tokens",
    "Prompt tokens looked up in another instance's cache",
    "external_prefix_cache_queries",
)
EXTERNAL_PREFIX_CACHE_HITS = _counter(
    "external_prefix_cache_hits", "tokens", "Prompt tokens found in another instance's cache", "external_prefix_cache_hits"
)
MM_CACHE_QUERIES = _counter("mm_cache_queries", "items", "Multi-modal items looked up", "mm_cache_queries")
MM_CACHE_HITS = _counter("mm_cache_hits", "items", "Multi-modal items found", "mm_cache_hits")

# Speculative decoding
SPEC_DECODE_DRAFTS = _counter("spec_decode_drafts", "drafts", "Speculative drafts", "spec_decode_num_drafts")
SPEC_DECODE_DRAFT_TOKENS = _counter("spec_decode_draft_tokens", "tokens", "Tokens drafted", "spec_decode_num_draft_tokens")
SPEC_DECODE_ACCEPTED_TOKENS = _counter(
    "spec_decode_accepted_tokens", "tokens", "Drafted tokens accepted", "spec_decode_num_accepted_tokens"
)

# Model throughput estimates (0 unless enabled)
ESTIMATED_FLOPS = _counter("estimated_flops", "operations", "Floating point operations per GPU", "estimated_flops_per_gpu")
ESTIMATED_READ_BYTES = _counter(
    "estimated_read_bytes", "bytes", "Bytes read from memory per GPU", "estimated_read_bytes_per_gpu"
)
ESTIMATED_WRITE_BYTES = _counter(
    "estimated_write_bytes", "bytes", "Bytes written to memory per GPU", "estimated_write_bytes_per_gpu"
)

# The process
PROCESS_CPU_SECONDS = _counter("process_cpu_seconds", "seconds", "CPU time of the API process", "process_cpu_seconds")
PROCESS_RESIDENT_BYTES = _gauge(
    "process_resident_bytes", "bytes", "Resident memory of the API process", "process_resident_memory_bytes"
)
HTTP_REQUESTS_2XX = _counter("http_requests_2xx", "requests", "HTTP answers 2xx", 'http_requests{status="2xx"}')
HTTP_REQUESTS_4XX = _counter("http_requests_4xx", "requests", "HTTP answers 4xx", 'http_requests{status="4xx"}')
HTTP_REQUESTS_5XX = _counter("http_requests_5xx", "requests", "HTTP answers 5xx", 'http_requests{status="5xx"}')
ADMISSION_REJECTIONS = _counter(
    "admission_rejections",
    "requests",
    "Requests refused at admission, all reasons; per API server, not per engine",
    "admission_rejections",
)

# Histograms, seconds
TTFT = _histogram("ttft_seconds", "seconds", "Time to first token", "time_to_first_token_seconds")
INTER_TOKEN_LATENCY = _histogram(
    "inter_token_latency_seconds",
    "seconds",
    "Gap between two output tokens",
    "inter_token_latency_seconds",
    "time_per_output_token_seconds",
)
TPOT = _histogram("tpot_seconds", "seconds", "Mean time per output token of a request", "request_time_per_output_token_seconds")
E2E_LATENCY = _histogram("e2e_latency_seconds", "seconds", "Arrival to last token", "e2e_request_latency_seconds")
QUEUE_TIME = _histogram(
    "queue_seconds", "seconds", "Waiting before the first scheduling", "request_queue_time_seconds", "time_in_queue_requests"
)
INFERENCE_TIME = _histogram("inference_seconds", "seconds", "Prefill and decode", "request_inference_time_seconds")
PREFILL_TIME = _histogram("prefill_seconds", "seconds", "Prefill", "request_prefill_time_seconds")
DECODE_TIME = _histogram(
    "decode_seconds", "seconds", "Decode; a wait after a preemption is in here", "request_decode_time_seconds"
)
KV_BLOCK_LIFETIME = _histogram("kv_block_lifetime_seconds", "seconds", "Life of a KV block", "kv_block_lifetime_seconds")
KV_BLOCK_IDLE = _histogram(
    "kv_block_idle_before_evict_seconds",
    "seconds",
    "A KV block's idle time before eviction",
    "kv_block_idle_before_evict_seconds",
)
KV_BLOCK_REUSE_GAP = _histogram(
    "kv_block_reuse_gap_seconds", "seconds", "Time between two uses of a KV block", "kv_block_reuse_gap_seconds"
)
HTTP_DURATION = _histogram("http_duration_seconds", "seconds", "HTTP request duration", "http_request_duration_seconds")

# Histograms, counts
REQUEST_PROMPT_TOKENS = _histogram("request_prompt_tokens", "tokens", "Prompt length", "request_prompt_tokens")
REQUEST_GENERATION_TOKENS = _histogram("request_generation_tokens", "tokens", "Output length", "request_generation_tokens")
REQUEST_MAX_GENERATION_TOKENS = _histogram(
    "request_max_generation_tokens", "tokens", "Longest output of a request's choices", "request_max_num_generation_tokens"
)
REQUEST_MAX_TOKENS = _histogram("request_max_tokens", "tokens", "max_tokens asked for", "request_params_max_tokens")
REQUEST_PREFILL_KV_COMPUTED = _histogram(
    "request_prefill_kv_computed_tokens", "tokens", "Prompt tokens really computed", "request_prefill_kv_computed_tokens"
)
ITERATION_TOKENS = _histogram("iteration_tokens", "tokens", "Tokens of one engine step", "iteration_tokens")
REQUEST_N = _histogram("request_n", "choices", "n asked for", "request_params_n")
REQUEST_PREEMPTIONS = _histogram("request_preemptions", "preemptions", "Preemptions of a request", "request_num_preemptions")

FAMILIES: tuple[Family, ...] = tuple(value for value in globals().values() if isinstance(value, Family))
"""Every family, in the order above, which is the order of the snapshot's columns."""

GAUGES = tuple(family for family in FAMILIES if family.kind is Kind.GAUGE)
COUNTERS = tuple(family for family in FAMILIES if family.kind is Kind.COUNTER)
HISTOGRAMS = tuple(family for family in FAMILIES if family.kind is Kind.HISTOGRAM)
