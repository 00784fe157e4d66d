"""Every engine metric that is kept: our name, its kind and unit.

The snapshot's columns, the boards, the reports and the alerts are built from these objects, never from a string with a name in
it. All the names that an engine has had for a metric are one entry in its file in ``engines``, so a rename costs that entry and
nothing anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EngineName(StrEnum):
    """Programs whose metrics are read. The value is how configuration names them."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama_cpp"
    OLLAMA = "ollama"
    DCGM = "dcgm"
    """NVIDIA's exporter of what GPUs say: no engine, so it is no replica."""
    KUBE_STATE = "kube_state"
    """kube-state-metrics, which says what Kubernetes knows of containers: no engine either."""


class Kind(StrEnum):
    """How values of a family behave over time."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One engine metric under our name, which is also its column in ``snapshots``. There is one object of each."""

    name: str
    kind: Kind
    unit: str
    help: str

    def __repr__(self) -> str:
        return f"<{self.name}>"


def _gauge(name: str, unit: str, help: str) -> Family:
    return Family(name, Kind.GAUGE, unit, help)


def _counter(name: str, unit: str, help: str) -> Family:
    return Family(name, Kind.COUNTER, unit, help)


def _histogram(name: str, unit: str, help: str) -> Family:
    return Family(name, Kind.HISTOGRAM, unit, help)


# Load
REQUESTS_RUNNING = _gauge("requests_running", "requests", "Requests in the running batch")
REQUESTS_WAITING = _gauge("requests_waiting", "requests", "Requests waiting to be scheduled")
REQUESTS_WAITING_CAPACITY = _gauge("requests_waiting_capacity", "requests", "Waiting for room in the batch or the KV cache")
REQUESTS_WAITING_DEFERRED = _gauge(
    "requests_waiting_deferred", "requests", "Waiting for something passing: a LoRA slot, a KV transfer"
)
REQUESTS_SWAPPED = _gauge("requests_swapped", "requests", "Requests swapped out to host memory (engines before vLLM's V1)")
KV_CACHE_USAGE = _gauge("kv_cache_usage_ratio", "ratio", "KV-cache blocks in use, 0 to 1")
ENGINE_AWAKE = _gauge("engine_awake", "bool", "1 when the engine is not sleeping")

# Tokens and requests
PROMPT_TOKENS = _counter("prompt_tokens", "tokens", "Prompt tokens; with n choices a prompt counts n times")
GENERATION_TOKENS = _counter("generation_tokens", "tokens", "Tokens generated")
PROMPT_TOKENS_CACHED = _counter("prompt_tokens_cached", "tokens", "Prompt tokens taken from a cache, local or external")
PROMPT_TOKENS_LOCAL_COMPUTE = _counter("prompt_tokens_local_compute", "tokens", "Prompt tokens computed here")
PROMPT_TOKENS_LOCAL_CACHE_HIT = _counter(
    "prompt_tokens_local_cache_hit", "tokens", "Prompt tokens from this engine's own cache"
)
PROMPT_TOKENS_EXTERNAL_KV_TRANSFER = _counter(
    "prompt_tokens_external_kv_transfer", "tokens", "Prompt tokens received from another engine's KV cache"
)
PROMPT_TOKENS_CACHED_DEVICE = _counter("prompt_tokens_cached_device", "tokens", "Cache hits served from device memory")
PROMPT_TOKENS_CACHED_HOST = _counter("prompt_tokens_cached_host", "tokens", "Cache hits served from host memory")
PROMPT_TOKENS_CACHED_P2P = _counter("prompt_tokens_cached_p2p", "tokens", "Cache hits served by another instance")
PROMPT_TOKENS_CACHED_DISK = _counter("prompt_tokens_cached_disk", "tokens", "Cache hits served from disk")
PROMPT_TOKENS_CACHED_EXTERNAL = _counter(
    "prompt_tokens_cached_external", "tokens", "Cache hits from an external store that names no tier"
)
PROMPT_TOKENS_RECOMPUTED = _counter(
    "prompt_tokens_recomputed", "tokens", "Cached prompt tokens computed again (vLLM 0.17 to 0.19)"
)
REQUESTS_STOP = _counter("requests_finished_stop", "requests", "Finished at a stop token")
REQUESTS_LENGTH = _counter("requests_finished_length", "requests", "Finished at the token limit")
REQUESTS_ABORT = _counter(
    "requests_finished_abort", "requests", "Aborted by the engine (a client's disconnect is not counted by vLLM)"
)
REQUESTS_ERROR = _counter("requests_finished_error", "requests", "Finished with an error (stayed 0 in every crash measured)")
REQUESTS_REPETITION = _counter("requests_finished_repetition", "requests", "Stopped for repeating itself")
REQUESTS_UNSPECIFIED = _counter(
    "requests_finished_unspecified", "requests", "Finished in any way, by engines that do not count the ways apart"
)
CORRUPTED_REQUESTS = _counter("corrupted_requests", "requests", "Requests with NaN logits")
PREEMPTIONS = _counter("preemptions", "preemptions", "Requests thrown out of the batch for lack of KV cache")

# Caches
PREFIX_CACHE_QUERIES = _counter("prefix_cache_queries", "tokens", "Prompt tokens looked up in the prefix cache")
PREFIX_CACHE_HITS = _counter("prefix_cache_hits", "tokens", "Prompt tokens found in the prefix cache")
EXTERNAL_PREFIX_CACHE_QUERIES = _counter(
    "external_prefix_cache_queries", "tokens", "Prompt tokens looked up in another instance's cache"
)
EXTERNAL_PREFIX_CACHE_HITS = _counter("external_prefix_cache_hits", "tokens", "Prompt tokens found in another instance's cache")
MM_CACHE_QUERIES = _counter("mm_cache_queries", "items", "Multi-modal items looked up")
MM_CACHE_HITS = _counter("mm_cache_hits", "items", "Multi-modal items found")

# Speculative decoding
SPEC_DECODE_DRAFTS = _counter("spec_decode_drafts", "drafts", "Speculative drafts")
SPEC_DECODE_DRAFT_TOKENS = _counter("spec_decode_draft_tokens", "tokens", "Tokens drafted")
SPEC_DECODE_ACCEPTED_TOKENS = _counter("spec_decode_accepted_tokens", "tokens", "Drafted tokens accepted")

# Model throughput estimates (0 unless enabled)
ESTIMATED_FLOPS = _counter("estimated_flops", "operations", "Floating point operations per GPU")
ESTIMATED_READ_BYTES = _counter("estimated_read_bytes", "bytes", "Bytes read from memory per GPU")
ESTIMATED_WRITE_BYTES = _counter("estimated_write_bytes", "bytes", "Bytes written to memory per GPU")

# The process
PROCESS_CPU_SECONDS = _counter("process_cpu_seconds", "seconds", "CPU time of the API process")
PROCESS_RESIDENT_BYTES = _gauge("process_resident_bytes", "bytes", "Resident memory of the API process")
HTTP_REQUESTS_2XX = _counter("http_requests_2xx", "requests", "HTTP answers 2xx")
HTTP_REQUESTS_4XX = _counter("http_requests_4xx", "requests", "HTTP answers 4xx")
HTTP_REQUESTS_5XX = _counter("http_requests_5xx", "requests", "HTTP answers 5xx")
ADMISSION_REJECTIONS = _counter(
    "admission_rejections", "requests", "Requests refused at admission, all reasons; per API server, not per engine"
)

# GPU memory
GPU_MEMORY_USED = _gauge("gpu_memory_used_bytes", "bytes", "Memory in use: of the GPU, or by the model on it")
GPU_MEMORY_FREE = _gauge("gpu_memory_free_bytes", "bytes", "Memory that is free on the GPU")

# Histograms, seconds
TTFT = _histogram("ttft_seconds", "seconds", "Time to first token")
INTER_TOKEN_LATENCY = _histogram("inter_token_latency_seconds", "seconds", "Gap between two output tokens")
TPOT = _histogram("tpot_seconds", "seconds", "Mean time per output token of a request")
E2E_LATENCY = _histogram("e2e_latency_seconds", "seconds", "Arrival to last token")
QUEUE_TIME = _histogram("queue_seconds", "seconds", "Waiting before the first scheduling")
INFERENCE_TIME = _histogram("inference_seconds", "seconds", "Prefill and decode")
PREFILL_TIME = _histogram("prefill_seconds", "seconds", "Prefill")
DECODE_TIME = _histogram("decode_seconds", "seconds", "Decode; a wait after a preemption is in here")
KV_BLOCK_LIFETIME = _histogram("kv_block_lifetime_seconds", "seconds", "Life of a KV block")
KV_BLOCK_IDLE = _histogram("kv_block_idle_before_evict_seconds", "seconds", "A KV block's idle time before eviction")
KV_BLOCK_REUSE_GAP = _histogram("kv_block_reuse_gap_seconds", "seconds", "Time between two uses of a KV block")
HTTP_DURATION = _histogram("http_duration_seconds", "seconds", "HTTP request duration")

# Histograms, counts
REQUEST_PROMPT_TOKENS = _histogram("request_prompt_tokens", "tokens", "Prompt length")
REQUEST_GENERATION_TOKENS = _histogram("request_generation_tokens", "tokens", "Output length")
REQUEST_MAX_GENERATION_TOKENS = _histogram("request_max_generation_tokens", "tokens", "Longest output of a request's choices")
REQUEST_MAX_TOKENS = _histogram("request_max_tokens", "tokens", "max_tokens asked for")
REQUEST_PREFILL_KV_COMPUTED = _histogram("request_prefill_kv_computed_tokens", "tokens", "Prompt tokens really computed")
ITERATION_TOKENS = _histogram("iteration_tokens", "tokens", "Tokens of one engine step")
REQUEST_N = _histogram("request_n", "choices", "n asked for")
REQUEST_PREEMPTIONS = _histogram("request_preemptions", "preemptions", "Preemptions of a request")

FAMILIES: tuple[Family, ...] = tuple(value for value in globals().values() if isinstance(value, Family))
"""Every family, in the order above, which is the order of the snapshot's columns."""

GAUGES = tuple(family for family in FAMILIES if family.kind is Kind.GAUGE)
COUNTERS = tuple(family for family in FAMILIES if family.kind is Kind.COUNTER)
HISTOGRAMS = tuple(family for family in FAMILIES if family.kind is Kind.HISTOGRAM)
