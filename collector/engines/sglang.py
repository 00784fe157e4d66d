"""SGLang's /metrics, with ``--enable-metrics``: one page per server, one engine per ``dp_rank`` under data-parallel attention.

- It always runs in Prometheus' multiprocess mode: there is no start of the process and no ``_created`` series, so a restart is
  seen by counters that fall.
- Tensor, pipeline and expert ranks of an engine say the same things, where more than one speaks: the lowest of each counts.
- ``priority=""`` of a gauge is the total, beside which other priorities are its parts.
- Tokens and requests are counted when a request ends, aborted ones too, and no reason is given.
- ``cached_tokens_total`` counts each request either by its sources or as ``cache_source="total"``, so all of them add up.
- ``kv_transfer_*`` were gauges up to 0.5.9 and are histograms since, under the same names.
- ``cache_hit_rate`` is that of the last batch, often stale: rates come from sums of tokens.

Names: SGLang 0.4.3 to 0.5.23, read in 16 of its releases (``srt/observability/metrics_collector.py``).
"""

from __future__ import annotations

import re

from collector import metrics
from collector.engines.engine import Engine, Question, sources
from collector.metrics import EngineName

_NAMES = {
    metrics.REQUESTS_RUNNING: "num_running_reqs",
    metrics.REQUESTS_WAITING: "num_queue_reqs",
    metrics.KV_CACHE_USAGE: "token_usage",
    metrics.PROMPT_TOKENS: "prompt_tokens",
    metrics.GENERATION_TOKENS: "generation_tokens",
    metrics.PROMPT_TOKENS_CACHED: "cached_tokens",
    metrics.PROMPT_TOKENS_LOCAL_COMPUTE: 'realtime_tokens{mode="prefill_compute"}',
    metrics.PROMPT_TOKENS_LOCAL_CACHE_HIT: 'realtime_tokens{mode="prefill_cache"}',
    metrics.PROMPT_TOKENS_CACHED_DEVICE: 'cached_tokens{cache_source="device"}',
    metrics.PROMPT_TOKENS_CACHED_HOST: 'cached_tokens{cache_source="host"}',
    metrics.PROMPT_TOKENS_CACHED_EXTERNAL: 'cached_tokens{cache_source=~"storage.*"}',
    metrics.REQUESTS_UNSPECIFIED: "num_requests",
    metrics.PREEMPTIONS: "num_retracted_requests",
    metrics.PREFIX_CACHE_QUERIES: "prompt_tokens",
    metrics.PREFIX_CACHE_HITS: "cached_tokens",
    metrics.ESTIMATED_FLOPS: "estimated_flops_per_gpu",
    metrics.ESTIMATED_READ_BYTES: "estimated_read_bytes_per_gpu",
    metrics.ESTIMATED_WRITE_BYTES: "estimated_write_bytes_per_gpu",
    metrics.HTTP_REQUESTS_2XX: 'http_responses{status_code=~"2.."}',
    metrics.HTTP_REQUESTS_4XX: 'http_responses{status_code=~"4.."}',
    metrics.HTTP_REQUESTS_5XX: 'http_responses{status_code=~"5.."}',
    metrics.TTFT: "time_to_first_token_seconds",
    metrics.INTER_TOKEN_LATENCY: ("inter_token_latency_seconds", "time_per_output_token_seconds"),
    metrics.TPOT: "request_time_per_output_token_seconds",
    metrics.E2E_LATENCY: "e2e_request_latency_seconds",
    metrics.QUEUE_TIME: ("queue_time_seconds", "queue_time_s"),
    metrics.REQUEST_PROMPT_TOKENS: "prompt_tokens_histogram",
    metrics.REQUEST_GENERATION_TOKENS: "generation_tokens_histogram",
    metrics.REQUEST_PREFILL_KV_COMPUTED: "uncached_prompt_tokens_histogram",
    metrics.REQUEST_PREEMPTIONS: "num_retractions",
}

_NOT_KEPT = """
    avg_request_queue_latency backup_bandwidth backup_pgs backuped_tokens cache_config_info cache_hit_rate context_len
    cuda_graph_passes decode_deferred_kv_release decode_deferred_kv_release_seconds decode_sum_seq_lens
    diffusion_generation_batch_size diffusion_lora_active_adapters diffusion_lora_active_modules
    diffusion_lora_loaded_adapters diffusion_lora_module_active diffusion_num_queue_reqs diffusion_num_running_reqs
    diffusion_queue_time_seconds diffusion_request_latency_seconds diffusion_requests
    diffusion_stage_host_latency_seconds dp_attention_pairs dp_attention_steps dp_attention_sync_wait_seconds
    dp_attention_token_imbalance_ratio dp_attention_tokens dp_cooperation_forward_execution_seconds
    dp_cooperation_gpu_execution_seconds dp_cooperation_realtime_tokens encoder_cache_entries encoder_cache_evictions
    encoder_cache_hit_files encoder_cache_hit_tokens encoder_cache_size_mb encoder_cache_total_files
    encoder_cache_total_tokens encoder_dp_pending_requests encoder_mm_items_per_batch encoder_mm_items_per_request
    encoder_model_forward_seconds encoder_preprocess_seconds encoder_queue_wait_seconds
    encoder_request_e2e_latency_seconds encoder_requests encoder_requests_received encoder_transfer_seconds
    engine_load_weights_time engine_startup_time eplb_balancedness eplb_gpu_physical_count evicted_tokens
    eviction_duration_seconds failed_session_recoveries forward_execution_seconds full_token_usage func_latency_seconds
    fwd_occupancy gen_throughput get_loads_duration_seconds gpu_execution_seconds gpu_overlap_wait_seconds
    grammar_compilation_time_seconds grammar_ebnf_size grammar_schema_count grammar_tree_traversal_time_avg
    grammar_tree_traversal_time_max graph_memory_usage_gb hicache_backup_bytes hicache_backup_dropped_tokens
    hicache_backup_duration_seconds hicache_backup_tokens hicache_dropped_tokens hicache_host_mamba_total_states
    hicache_host_mamba_used_states hicache_host_total_tokens hicache_host_used_tokens
    hicache_prefetch_aux_alloc_failed_tokens http_requests http_requests_active is_cuda_graph kv_available_tokens
    kv_cache_memory_usage_gb kv_evictable_tokens kv_transfer_alloc_ms kv_transfer_bootstrap_ms kv_transfer_latency_ms
    kv_transfer_speed_gb_s kv_transfer_total_mb kv_used_tokens load_back_bytes load_back_duration_seconds
    load_back_tokens lora_pool_slots lora_pool_slots_used lora_pool_utilization mamba_available_tokens
    mamba_evictable_tokens mamba_usage mamba_used_tokens max_running_requests_under_SLO max_total_num_tokens
    max_total_num_tokens_swa new_token_ratio num_aborted_requests num_bootstrap_failed_reqs
    num_decode_deferred_kv_release_reqs num_decode_host_receive_queue_reqs num_decode_host_receive_reqs
    num_decode_prealloc_queue_reqs num_decode_transfer_queue_reqs num_grammar num_grammar_aborted num_grammar_cache_hit
    num_grammar_queue_reqs num_grammar_timeout num_pages num_paused_reqs num_prefill_bootstrap_queue_reqs
    num_prefill_infight_queue_reqs num_prefill_inflight_queue_reqs num_prefill_prealloc_queue_reqs num_prefill_retries
    num_retracted_input_tokens num_retracted_output_tokens num_retracted_reqs num_running_reqs_offline_batch
    num_so_requests num_streaming_sessions num_transfer_failed_reqs num_unique_running_routing_keys num_used_tokens
    page_size pending_prealloc_token_usage per_stage_req_latency_seconds prealloc_full_token_usage
    prealloc_swa_token_usage prefetch_bandwidth prefetch_pgs prefetched_tokens prefill_delayer_outcomes
    prefill_delayer_wait_forward_passes prefill_delayer_wait_seconds prefill_effective_tokens process_cpu_seconds
    routing_key_all_req_count routing_key_running_req_count routing_keys_active scheduler_idle_seconds
    scheduler_process_cpu_seconds scheduler_stage_seconds spec_accept_length spec_accept_rate spec_block_accept_length
    spec_cap_length spec_num_draft_tokens spec_num_steps spec_verify_calls startup_available_gpu_memory_gb
    startup_cuda_graph_time_seconds startup_latency_breakdown_seconds_max startup_time_seconds
    storage_prefetch_deferred_tokens storage_prefetch_hit_tokens storage_prefetch_unfulfilled_tokens
    streaming_session_held_tokens swa_available_tokens swa_evictable_tokens swa_token_usage swa_used_tokens
    time_to_first_token_seconds_offline_batch total_retracted_reqs utilization weight_load_duration_seconds
    weight_memory_usage_gb
"""
"""Another concern than requests, tokens and latencies, or a gauge of what a counter says better."""

SGLANG = Engine(
    name=EngineName.SGLANG,
    prefix=re.compile(r"sglang[:_]"),
    sources=sources(_NAMES),
    not_kept=frozenset(_NOT_KEPT.split()),
    engine_label="dp_rank",
    role_label="engine_type",
    totals={"priority": ""},
    ranks=("tp_rank", "pp_rank", "moe_ep_rank"),
    # Its health check generates a token, looks for it once a second, and gives up after 20 s.
    health_timeout_seconds=21.0,
    version=(Question("/server_info", ("version",)), Question("/get_server_info", ("version",))),
)
