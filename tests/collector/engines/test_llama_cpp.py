from __future__ import annotations

from pathlib import Path

from collector.engines import Page, Reading, read_page

PAGES = Path(__file__).parent.parent.parent / "data" / "engines"


def test_page_is_read_under_our_names_and_prompt_tokens_hold_those_from_the_cache() -> None:
    expected = {
        "requests_running": 2.0,
        "requests_waiting": 1.0,
        "prompt_tokens": 1.28402e06 + 715980,
        "prompt_tokens_local_compute": 1.28402e06,
        "prompt_tokens_local_cache_hit": 715980.0,
        "prompt_tokens_cached": 715980.0,
        "prefix_cache_queries": 1.28402e06 + 715980,
        "prefix_cache_hits": 715980.0,
        "generation_tokens": 98211.0,
        "spec_decode_drafts": 10.0,
        "spec_decode_draft_tokens": 80.0,
        "spec_decode_accepted_tokens": 55.0,
    }
    page = read_page((PAGES / "llama_cpp_2026.txt").read_text(), model="qwen3")
    assert Page("llama_cpp", (Reading("0", "qwen3", expected),), ()) == page


def test_prompt_tokens_are_unknown_where_those_from_the_cache_are() -> None:
    page = read_page((PAGES / "llama_cpp_older.txt").read_text(), model="qwen3")
    expected = {
        "requests_running": 2.0,
        "requests_waiting": 1.0,
        "kv_cache_usage_ratio": 0.25,
        "prompt_tokens_local_compute": 1.28402e06,
        "generation_tokens": 98211.0,
    }
    assert Page("llama_cpp", (Reading("0", "qwen3", expected),), ()) == page
