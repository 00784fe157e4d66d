"""vLLM's /metrics: one page per API server, one engine per ``engine`` and ``model_name`` label.

What carries no engine label, the process and admission, goes onto the row of the only engine, and with several engines onto a
row of its own, whose engine is "". With several API servers (``--api-server-count``) one page holds the sums of all of them,
without the start of the process and without any ``_created`` series. The router of vLLM's production stack writes series of
its own under vLLM's prefix and labels them with the engine's URL: they are left out, or everything would count twice.

Names: vLLM 0.11.0 to 0.32.0, read in its ``v1/metrics/loggers.py``, and older ones; measured on 0.27.1, 0.30.0 and 0.32.0.
"""

from __future__ import annotations

import re

from collector import metrics
from collector.engines.engine import Engine, Question, sources
from collector.metrics import EngineName

_NAMES = {
    metrics.REQUESTS_RUNNING: "num_requests_running",
    metrics.REQUESTS_WAITING: "num_requests_waiting",
    metrics.REQUESTS_WAITING_CAPACITY: 'num_requests_waiting_by_reason{reason="capacity"}',
    metrics.REQUESTS_WAITING_DEFERRED: 'num_requests_waiting_by_reason{reason="deferred"}',
    metrics.REQUESTS_SWAPPED: "num_requests_swapped",
    metrics.KV_CACHE_USAGE: ("kv_cache_usage_perc", "gpu_cache_usage_perc"),
    metrics.ENGINE_AWAKE: 'engine_sleep_state{sleep_state="awake"}',
    metrics.PROMPT_TOKENS: "prompt_tokens",
    metrics.GENERATION_TOKENS: "generation_tokens",
    metrics.PROMPT_TOKENS_CACHED: "prompt_tokens_cached",
    metrics.PROMPT_TOKENS_LOCAL_COMPUTE: 'prompt_tokens_by_source{source="local_compute"}',
    metrics.PROMPT_TOKENS_LOCAL_CACHE_HIT: 'prompt_tokens_by_source{source="local_cache_hit"}',
    metrics.PROMPT_TOKENS_EXTERNAL_KV_TRANSFER: 'prompt_tokens_by_source{source="external_kv_transfer"}',
    metrics.PROMPT_TOKENS_CACHED_DEVICE: 'prompt_tokens_cached_by_source{source="device"}',
    metrics.PROMPT_TOKENS_CACHED_HOST: 'prompt_tokens_cached_by_source{source="host"}',
    metrics.PROMPT_TOKENS_CACHED_P2P: 'prompt_tokens_cached_by_source{source="p2p"}',
    metrics.PROMPT_TOKENS_CACHED_DISK: 'prompt_tokens_cached_by_source{source="disk"}',
    metrics.PROMPT_TOKENS_CACHED_EXTERNAL: 'prompt_tokens_cached_by_source{source="external_unspecified"}',
    metrics.PROMPT_TOKENS_RECOMPUTED: "prompt_tokens_recomputed",
    metrics.REQUESTS_STOP: 'request_success{finished_reason="stop"}',
    metrics.REQUESTS_LENGTH: 'request_success{finished_reason="length"}',
    metrics.REQUESTS_ABORT: 'request_success{finished_reason="abort"}',
    metrics.REQUESTS_ERROR: 'request_success{finished_reason="error"}',
    metrics.REQUESTS_REPETITION: 'request_success{finished_reason="repetition"}',
    metrics.CORRUPTED_REQUESTS: "corrupted_requests",
    metrics.PREEMPTIONS: "num_preemptions",
    metrics.PREFIX_CACHE_QUERIES: ("prefix_cache_queries", "gpu_prefix_cache_queries"),
    metrics.PREFIX_CACHE_HITS: ("prefix_cache_hits", "gpu_prefix_cache_hits"),
    metrics.EXTERNAL_PREFIX_CACHE_QUERIES: "external_prefix_cache_queries",
    metrics.EXTERNAL_PREFIX_CACHE_HITS: "external_prefix_cache_hits",
    metrics.MM_CACHE_QUERIES: "mm_cache_queries",
    metrics.MM_CACHE_HITS: "mm_cache_hits",
    metrics.SPEC_DECODE_DRAFTS: "spec_decode_num_drafts",
    metrics.SPEC_DECODE_DRAFT_TOKENS: "spec_decode_num_draft_tokens",
    metrics.SPEC_DECODE_ACCEPTED_TOKENS: "spec_decode_num_accepted_tokens",
    metrics.ESTIMATED_FLOPS: "estimated_flops_per_gpu",
    metrics.ESTIMATED_READ_BYTES: "estimated_read_bytes_per_gpu",
    metrics.ESTIMATED_WRITE_BYTES: "estimated_write_bytes_per_gpu",
    metrics.PROCESS_CPU_SECONDS: "process_cpu_seconds",
    metrics.PROCESS_RESIDENT_BYTES: "process_resident_memory_bytes",
    metrics.HTTP_REQUESTS_2XX: 'http_requests{status="2xx"}',
    metrics.HTTP_REQUESTS_4XX: 'http_requests{status="4xx"}',
    metrics.HTTP_REQUESTS_5XX: 'http_requests{status="5xx"}',
    metrics.ADMISSION_REJECTIONS: "admission_rejections",
    metrics.TTFT: "time_to_first_token_seconds",
    metrics.INTER_TOKEN_LATENCY: ("inter_token_latency_seconds", "time_per_output_token_seconds"),
    metrics.TPOT: "request_time_per_output_token_seconds",
    metrics.E2E_LATENCY: "e2e_request_latency_seconds",
    metrics.QUEUE_TIME: ("request_queue_time_seconds", "time_in_queue_requests"),
    metrics.INFERENCE_TIME: "request_inference_time_seconds",
    metrics.PREFILL_TIME: "request_prefill_time_seconds",
    metrics.DECODE_TIME: "request_decode_time_seconds",
    metrics.KV_BLOCK_LIFETIME: "kv_block_lifetime_seconds",
    metrics.KV_BLOCK_IDLE: "kv_block_idle_before_evict_seconds",
    metrics.KV_BLOCK_REUSE_GAP: "kv_block_reuse_gap_seconds",
    metrics.HTTP_DURATION: "http_request_duration_seconds",
    metrics.REQUEST_PROMPT_TOKENS: "request_prompt_tokens",
    metrics.REQUEST_GENERATION_TOKENS: "request_generation_tokens",
    metrics.REQUEST_MAX_GENERATION_TOKENS: "request_max_num_generation_tokens",
    metrics.REQUEST_MAX_TOKENS: "request_params_max_tokens",
    metrics.REQUEST_PREFILL_KV_COMPUTED: "request_prefill_kv_computed_tokens",
    metrics.ITERATION_TOKENS: "iteration_tokens",
    metrics.REQUEST_N: "request_params_n",
    metrics.REQUEST_PREEMPTIONS: "request_num_preemptions",
}

_NOT_KEPT = """
    cache_config_info diffusion_num_canvas_positions diffusion_num_committed_tokens diffusion_num_denoising_steps
    hf3fs_load_duration_seconds hf3fs_num_failed_load hf3fs_num_failed_save hf3fs_save_duration_seconds
    hisparse_cache_hits hisparse_cache_misses hisparse_host_block_idle_before_evict_seconds
    hisparse_host_block_lifetime_seconds hisparse_host_block_reuse_gap_seconds hisparse_host_cache_usage_perc
    hisparse_host_to_device_bytes hisparse_pending_page_transfers kv_offload_allocation_failure kv_offload_load_bytes
    kv_offload_load_size kv_offload_load_time kv_offload_lookup_async_delay_seconds kv_offload_lookup_sync_delay_seconds
    kv_offload_size kv_offload_store_bytes kv_offload_store_size kv_offload_store_time kv_offload_total_bytes
    kv_offload_total_time lora_requests_info mooncake_store_operation mooncake_store_operation_bytes
    mooncake_store_operation_failed_keys mooncake_store_operation_keys mooncake_store_operation_time_seconds
    nixl_bytes_transferred nixl_num_descriptors nixl_num_failed_notifications nixl_num_failed_transfers
    nixl_num_kv_expired_reqs nixl_num_notifications_after_expiry nixl_post_time_seconds nixl_xfer_time_seconds
    num_requests_kv_fetch_by_stage spec_decode_num_accepted_tokens_per_pos tool_call_parser_invocations
    watermark_requests
"""
"""Transfers of KV caches by their connectors, splits by position, and labels that differ by version."""

VLLM = Engine(
    name=EngineName.VLLM,
    prefix=re.compile(r"(ray_vllm[:_]|kserve_vllm[:_]|vllm:)"),
    sources=sources(_NAMES),
    not_kept=frozenset(_NOT_KEPT.split()),
    process=("process_", "http_"),
    foreign_label="server",
    starts=("process_start_time_seconds", "prompt_tokens_created"),
    config="cache_config_info",
    version=(Question("/version", ("version",)),),
)
