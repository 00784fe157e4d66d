"""What pages say, against a plain reading of the same text by prometheus_client's parser."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collector.engines import Page, Reader, Reading, read_page
from collector.engines.page import MOST_ROWS
from collector.errors import MalformedExposition

DATA = Path(__file__).parent.parent.parent / "data"
PLAIN = {
    "requests_running": ("num_requests_running", {}),
    "requests_waiting": ("num_requests_waiting", {}),
    "requests_waiting_capacity": ("num_requests_waiting_by_reason", {"reason": "capacity"}),
    "requests_waiting_deferred": ("num_requests_waiting_by_reason", {"reason": "deferred"}),
    "kv_cache_usage_ratio": ("kv_cache_usage_perc", {}),
    "engine_awake": ("engine_sleep_state", {"sleep_state": "awake"}),
    "prompt_tokens": ("prompt_tokens_total", {}),
    "generation_tokens": ("generation_tokens_total", {}),
    "prompt_tokens_cached": ("prompt_tokens_cached_total", {}),
    "prompt_tokens_local_compute": ("prompt_tokens_by_source_total", {"source": "local_compute"}),
    "prompt_tokens_local_cache_hit": ("prompt_tokens_by_source_total", {"source": "local_cache_hit"}),
    "prompt_tokens_external_kv_transfer": ("prompt_tokens_by_source_total", {"source": "external_kv_transfer"}),
    "prompt_tokens_cached_device": ("prompt_tokens_cached_by_source_total", {"source": "device"}),
    "prompt_tokens_cached_host": ("prompt_tokens_cached_by_source_total", {"source": "host"}),
    "prompt_tokens_cached_p2p": ("prompt_tokens_cached_by_source_total", {"source": "p2p"}),
    "prompt_tokens_cached_disk": ("prompt_tokens_cached_by_source_total", {"source": "disk"}),
    "prompt_tokens_cached_external": ("prompt_tokens_cached_by_source_total", {"source": "external_unspecified"}),
    "requests_finished_stop": ("request_success_total", {"finished_reason": "stop"}),
    "requests_finished_length": ("request_success_total", {"finished_reason": "length"}),
    "requests_finished_abort": ("request_success_total", {"finished_reason": "abort"}),
    "requests_finished_error": ("request_success_total", {"finished_reason": "error"}),
    "requests_finished_repetition": ("request_success_total", {"finished_reason": "repetition"}),
    "corrupted_requests": ("corrupted_requests_total", {}),
    "preemptions": ("num_preemptions_total", {}),
    "prefix_cache_queries": ("prefix_cache_queries_total", {}),
    "prefix_cache_hits": ("prefix_cache_hits_total", {}),
    "external_prefix_cache_queries": ("external_prefix_cache_queries_total", {}),
    "external_prefix_cache_hits": ("external_prefix_cache_hits_total", {}),
    "mm_cache_queries": ("mm_cache_queries_total", {}),
    "mm_cache_hits": ("mm_cache_hits_total", {}),
    "spec_decode_drafts": ("spec_decode_num_drafts_total", {}),
    "spec_decode_draft_tokens": ("spec_decode_num_draft_tokens_total", {}),
    "spec_decode_accepted_tokens": ("spec_decode_num_accepted_tokens_total", {}),
    "estimated_flops": ("estimated_flops_per_gpu_total", {}),
    "estimated_read_bytes": ("estimated_read_bytes_per_gpu_total", {}),
    "estimated_write_bytes": ("estimated_write_bytes_per_gpu_total", {}),
    "admission_rejections": ("admission_rejections_total", {}),
    "process_cpu_seconds": ("process_cpu_seconds_total", {}),
    "process_resident_bytes": ("process_resident_memory_bytes", {}),
    "http_requests_2xx": ("http_requests_total", {"status": "2xx"}),
    "http_requests_4xx": ("http_requests_total", {"status": "4xx"}),
    "http_requests_5xx": ("http_requests_total", {"status": "5xx"}),
    **{
        f"{ours}_{part}": (f"{theirs}_{part}", {})
        for ours, theirs in {
            "ttft_seconds": "time_to_first_token_seconds",
            "inter_token_latency_seconds": "inter_token_latency_seconds",
            "tpot_seconds": "request_time_per_output_token_seconds",
            "e2e_latency_seconds": "e2e_request_latency_seconds",
            "queue_seconds": "request_queue_time_seconds",
            "inference_seconds": "request_inference_time_seconds",
            "prefill_seconds": "request_prefill_time_seconds",
            "decode_seconds": "request_decode_time_seconds",
            "kv_block_lifetime_seconds": "kv_block_lifetime_seconds",
            "kv_block_idle_before_evict_seconds": "kv_block_idle_before_evict_seconds",
            "kv_block_reuse_gap_seconds": "kv_block_reuse_gap_seconds",
            "http_duration_seconds": "http_request_duration_seconds",
            "request_prompt_tokens": "request_prompt_tokens",
            "request_generation_tokens": "request_generation_tokens",
            "request_max_generation_tokens": "request_max_num_generation_tokens",
            "request_max_tokens": "request_params_max_tokens",
            "request_prefill_kv_computed_tokens": "request_prefill_kv_computed_tokens",
            "iteration_tokens": "iteration_tokens_total",
            "request_n": "request_params_n",
            "request_preemptions": "request_num_preemptions",
        }.items()
        for part in ("sum", "count")
    },
}
"""Our names, and what they are on a page of vLLM: a sample's name without prefix, and the labels that select it."""


def plain(text: str, engine: str | None = None) -> dict[str, float]:
    """What a page says, read sample by sample: of one engine by its label, of "" what has none, of ``None`` everything."""
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if engine is None or sample.labels.get("engine", "") == engine
    ]
    found: dict[str, float] = {}
    for ours, (name, labels) in PLAIN.items():
        values = [
            sample.value
            for sample in samples
            if sample.name.removeprefix("vllm:") == name and labels.items() <= sample.labels.items()
        ]
        if values:
            found[ours] = sum(values)
    return found


def the_engine(page: Page) -> Reading:
    (reading,) = page.engines
    return reading


@pytest.mark.parametrize("path", sorted((DATA / "vllm").glob("*.txt")), ids=lambda path: path.stem)
def test_real_page_says_what_a_plain_reading_finds(path: Path) -> None:
    text = path.read_text()
    reading = the_engine(read_page(text))
    assert plain(text) == dict(reading.metrics)
    assert ("0", "tiny") == (reading.label, reading.model)


@pytest.mark.parametrize("path", sorted((DATA / "engines").glob("vllm_*.txt")), ids=lambda path: path.stem)
def test_real_page_of_a_data_parallel_server_says_of_each_engine_what_a_plain_reading_finds(path: Path) -> None:
    text = path.read_text()
    found = {(reading.label, reading.model): dict(reading.metrics) for reading in read_page(text).engines}
    assert {(label, "tiny"): plain(text, label) for label in ("0", "1", "")} == found
    assert all(
        found["0", "tiny"][name] + found["1", "tiny"][name] == plain(text)[name] for name in ("prompt_tokens", "preemptions")
    )


def two_engines(text: str) -> str:
    """The page of a data-parallel server: each series of the engine again for a second one, with other numbers."""
    lines = []
    for line in text.splitlines():
        lines.append(line)
        if 'engine="0"' in line:
            key, _, value = line.replace('engine="0"', 'engine="1"').rpartition(" ")
            lines.append(f"{key} {float(value) * 3}")
    return "\n".join(lines)


def test_engines_of_a_data_parallel_server_are_kept_apart() -> None:
    text = (DATA / "vllm" / "metrics_load.txt").read_text()
    first, second, shared = read_page(two_engines(text)).engines
    expected = plain(text)
    alone = {name: value for name, value in expected.items() if name in shared.metrics}
    assert ("0", "1", "") == (first.label, second.label, shared.label)
    assert expected == {**first.metrics, **alone}
    assert {name: 3 * value for name, value in first.metrics.items()} == pytest.approx(dict(second.metrics))
    assert {
        "process_cpu_seconds",
        "process_resident_bytes",
        "admission_rejections",
        "http_requests_2xx",
    } <= shared.metrics.keys()
    assert not shared.metrics.keys() & first.metrics.keys()


PAGES = [*sorted((DATA / "vllm").glob("*.txt")), *sorted((DATA / "engines").glob("*.txt"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_reader_that_knows_the_layout_reads_the_same(path: Path) -> None:
    text = path.read_text()
    reader = Reader()
    for number in (1.0, 2.0, 0.5):
        changed = scaled(text, number)
        assert read_page(changed) == reader.read(changed)


def scaled(text: str, by: float) -> str:
    lines = []
    for line in text.splitlines(keepends=True):
        key, _, value = line.rstrip("\n").rpartition(" ")
        lines.append(line if line.startswith("#") else f"{key} {float(value) * by}\n")
    return "".join(lines)


def test_reader_notices_another_layout() -> None:
    reader = Reader()
    pages = [path.read_text() for path in PAGES]
    assert [read_page(text) for text in pages] == [reader.read(text) for text in pages]


def test_page_may_be_bytes_that_are_no_utf_8() -> None:
    assert "m\ufffd" == the_engine(read_page(b'vllm:num_requests_running{model_name="m\xff"} 1')).model


def test_engine_without_a_label_is_engine_0_and_a_model_can_be_given() -> None:
    assert Reading("0", "m", {"requests_running": 1.0}) == the_engine(read_page("vllm:num_requests_running 1", model="m"))


@pytest.mark.parametrize("text", ["node_load1 2", "# HELP up Whether", 'DCGM_FI_DEV_FB_USED{gpu="0"} 1'])
def test_page_of_something_else_is_no_engines(text: str) -> None:
    assert Page("", (), ()) == read_page(text)


def test_what_is_no_page_is_refused() -> None:
    with pytest.raises(MalformedExposition):
        read_page("<html>")


def test_labels_with_newlines_and_quotes_timestamps_and_exemplars_are_read() -> None:
    text = """
vllm:num_requests_running{engine="0",model_name="a\\"b\\\\c\\nd"} 3 1795476346000
vllm:time_to_first_token_seconds_bucket{engine="0",model_name="a\\"b\\\\c\\nd",le="0.5"} 1 # {trace_id="KOO5S4vxi0o"} 0.67
vllm:time_to_first_token_seconds_bucket{engine="0",model_name="a\\"b\\\\c\\nd",le="+Inf"} 2 # {t="u"} 9.8 1520879607.789
vllm:time_to_first_token_seconds_sum{engine="0",model_name="a\\"b\\\\c\\nd"} 10 1795476346.5
# EOF
"""
    expected = {"requests_running": 3.0, "ttft_seconds_sum": 10.0, "ttft_seconds_count": 2.0}
    assert Reading("0", 'a"b\\c\nd', expected) == the_engine(read_page(text))


def test_gauge_that_is_no_number_is_left_out_and_so_is_a_sum_with_it() -> None:
    text = """
vllm:num_requests_running{engine="0",worker="a"} 3
vllm:num_requests_running{engine="0",worker="b"} NaN
vllm:kv_cache_usage_perc{engine="0",worker="a"} NaN
vllm:kv_cache_usage_perc{engine="0",worker="b"} 0.5
vllm:num_requests_waiting{engine="0"} +Inf
vllm:num_preemptions_total{engine="0"} 2
"""
    assert {"kv_cache_usage_ratio": 0.5, "preemptions": 2.0} == the_engine(read_page(text)).metrics


def test_start_of_a_series_is_no_value() -> None:
    text = 'vllm:prompt_tokens_created{engine="0"} 1.5e9\nvllm:prompt_tokens_total{engine="0"} 4'
    assert {"prompt_tokens": 4.0} == the_engine(read_page(text)).metrics


def test_counter_of_each_process_of_a_multiprocess_server_is_added() -> None:
    text = "\n".join(f'vllm:prompt_tokens_total{{engine="0",pid="{pid}"}} {pid}' for pid in (10, 20, 30))
    assert {"prompt_tokens": 60.0} == the_engine(read_page(text)).metrics


_NUMBER = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-10, 10**9).map(float)


@given(st.lists(st.tuples(st.sampled_from(["0", "1", "7"]), _NUMBER), min_size=1, max_size=8))
def test_sums_by_engine_are_those_of_a_plain_reading(rows: list[tuple[str, float]]) -> None:
    text = "\n".join(
        f'vllm:prompt_tokens_total{{engine="{engine}",model_name="m",part="{part}"}} {value!r}'
        for part, (engine, value) in enumerate(rows)
    )
    sums: dict[str, float] = {}
    for engine, value in rows:
        sums[engine] = sums[engine] + value if engine in sums else value
    expected = {engine: {"prompt_tokens": value} if math.isfinite(value) else {} for engine, value in sorted(sums.items())}
    assert expected == {reading.label: dict(reading.metrics) for reading in read_page(text).engines}


def test_page_with_more_models_than_any_server_has_is_refused() -> None:
    text = "\n".join(f'vllm:num_requests_running{{model_name="{number}"}} 1' for number in range(MOST_ROWS + 1))
    with pytest.raises(MalformedExposition, match="513 engines and models on one page"):
        read_page(text)
    assert MOST_ROWS == len(read_page(text.rpartition("\n")[0]).engines)
