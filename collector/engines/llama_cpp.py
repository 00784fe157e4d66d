"""llama.cpp's server: /metrics with ``--metrics``, without labels and histograms: no latency is in it, no finished request.

``prompt_tokens_total`` leaves out what came from the cache, so prompt tokens are known only of builds that count that too,
since August 2026; of older ones only those computed. The gauges of tokens per second are averages since the last scrape,
whoever's that was, and nobody keeps them. The header ``Process-Start-Time-Unix`` holds no Unix time: a restart is seen by
counters that fall. Counters are printed with six digits.

Names: ``tools/server`` of mid 2026, read in its source and README.
"""

from __future__ import annotations

import re

from collector import metrics
from collector.engines.engine import Engine, Question, sources
from collector.metrics import EngineName

_NAMES = {
    metrics.REQUESTS_RUNNING: "requests_processing",
    metrics.REQUESTS_WAITING: "requests_deferred",
    metrics.KV_CACHE_USAGE: "kv_cache_usage_ratio",
    metrics.PROMPT_TOKENS: "prompt_tokens+prompt_tokens_cached",
    metrics.GENERATION_TOKENS: "tokens_predicted",
    metrics.PROMPT_TOKENS_CACHED: "prompt_tokens_cached",
    metrics.PROMPT_TOKENS_LOCAL_COMPUTE: "prompt_tokens",
    metrics.PROMPT_TOKENS_LOCAL_CACHE_HIT: "prompt_tokens_cached",
    metrics.PREFIX_CACHE_QUERIES: "prompt_tokens+prompt_tokens_cached",
    metrics.PREFIX_CACHE_HITS: "prompt_tokens_cached",
    metrics.SPEC_DECODE_DRAFTS: "spec_decode_num_drafts",
    metrics.SPEC_DECODE_DRAFT_TOKENS: "spec_decode_num_draft_tokens",
    metrics.SPEC_DECODE_ACCEPTED_TOKENS: "spec_decode_num_accepted_tokens",
}

_NOT_KEPT = """
    kv_cache_tokens n_busy_slots_per_decode n_decode n_tokens_max predicted_tokens_seconds prompt_seconds
    prompt_tokens_seconds spec_decode_num_accepted_tokens_per_pos tokens_predicted_seconds
"""

LLAMA_CPP = Engine(
    name=EngineName.LLAMA_CPP,
    prefix=re.compile(r"llamacpp:"),
    sources=sources(_NAMES),
    not_kept=frozenset(_NOT_KEPT.split()),
    version=(Question("/props", ("build_info",)),),
    model=(Question("/v1/models", ("data", 0, "id")),),
)
