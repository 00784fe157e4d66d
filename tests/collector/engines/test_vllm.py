from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from collector import metrics
from collector.engines import Reader, read_page
from collector.engines.vllm import VLLM
from collector.metrics import Family
from collector.sample import Histogram, Snapshot

PAGES = Path(__file__).parent.parent.parent / "data" / "vllm"
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
INF = float("inf")


def snapshots(text: str, model: str | None = None) -> list[Snapshot]:
    plan, page = Reader(VLLM).parse(text)
    if plan is None:
        return []
    return plan.snapshots(page.values, scraped_at=AT, replica="vllm-0", model=model, scrape_seconds=0.01)


def only(text: str) -> Snapshot:
    (snapshot,) = snapshots(text)
    return snapshot


def test_page_under_load_is_one_snapshot_in_our_names() -> None:
    snapshot = only((PAGES / "metrics_load.txt").read_text())
    expected: dict[Family, float] = {
        metrics.REQUESTS_RUNNING: 23.0,
        metrics.REQUESTS_WAITING: 0.0,
        metrics.KV_CACHE_USAGE: 0.011476010255158098,
        metrics.PREFIX_CACHE_QUERIES: 55380.0,
        metrics.PREFIX_CACHE_HITS: 37120.0,
        metrics.PROMPT_TOKENS: 55380.0,
        metrics.PROMPT_TOKENS_LOCAL_CACHE_HIT: 37120.0,
        metrics.PREEMPTIONS: 0.0,
        metrics.ENGINE_AWAKE: 1.0,
    }
    assert ("0", "tiny") == (snapshot.engine, snapshot.model)
    assert expected == {family: snapshot.values[family] for family in expected}
    assert datetime(2026, 11, 23, 23, 24, 53, 740000, UTC) == snapshot.process_started_at


def test_histogram_has_the_edges_of_the_page() -> None:
    snapshot = only((PAGES / "metrics_load.txt").read_text())
    ttft = snapshot.histograms[metrics.TTFT]
    assert {0.1, 0.25, 0.5, 0.75, INF} <= set(ttft.edges)
    assert list(ttft.counts) == sorted(ttft.counts)
    assert metrics.ITERATION_TOKENS in snapshot.histograms, "a histogram whose name ends in _total"


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.txt")), ids=lambda path: path.stem)
def test_buckets_of_a_real_page_are_those_of_a_plain_reading(path: Path) -> None:
    text = path.read_text()
    found = only(text).histograms
    buckets: dict[str, dict[float, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                of_name = buckets.setdefault(sample.name.removeprefix("vllm:").removesuffix("_bucket"), {})
                edge = float(sample.labels["le"])
                of_name[edge] = of_name.get(edge, 0.0) + sample.value
    names = {family: sums[0][0].name for family, sums in VLLM.sources.items() if family in found}
    plain = {family: buckets.get(name, buckets.get(f"{name}_total", {})) for family, name in names.items()}
    assert plain == {family: dict(zip(one.edges, one.counts, strict=True)) for family, one in found.items()}
    assert len(found) >= 16


def test_start_of_the_process_is_unknown_with_several_api_servers() -> None:
    assert only((PAGES / "metrics_api_server_count2.txt").read_text()).process_started_at is None


@pytest.mark.parametrize(
    ("family", "text", "expected"),
    [
        (metrics.KV_CACHE_USAGE, 'vllm:gpu_cache_usage_perc{model_name="m"} 0.5', 0.5),
        (metrics.KV_CACHE_USAGE, 'ray_vllm_kv_cache_usage_perc{model_name="m"} 0.5', 0.5),
        (metrics.KV_CACHE_USAGE, 'ray_vllm:kv_cache_usage_perc{model_name="m"} 0.5', 0.5),
        (metrics.KV_CACHE_USAGE, 'kserve_vllm:kv_cache_usage_perc{model_name="m"} 0.5', 0.5),
        (metrics.PREFIX_CACHE_HITS, 'vllm:gpu_prefix_cache_hits_total{model_name="m"} 7', 7.0),
        (metrics.PREFIX_CACHE_HITS, 'vllm:prefix_cache_hits{model_name="m"} 7', 7.0),
        (metrics.REQUESTS_STOP, 'vllm:request_success_total{model_name="m",finished_reason="stop"} 3', 3.0),
        (
            metrics.ADMISSION_REJECTIONS,
            'vllm:admission_rejections_total{model_name="m",reason="a"} 1\n'
            'vllm:admission_rejections_total{model_name="m",reason="b"} 2',
            3.0,
        ),
    ],
)
def test_old_names_other_prefixes_and_split_counters_are_the_same_family(family: Family, text: str, expected: float) -> None:
    snapshot = only(text)
    assert ("m", expected) == (snapshot.model, snapshot.values[family])


def test_present_name_outranks_an_older_one() -> None:
    text = 'vllm:gpu_cache_usage_perc{model_name="m"} 0.1\nvllm:kv_cache_usage_perc{model_name="m"} 0.2'
    assert 0.2 == only(text).values[metrics.KV_CACHE_USAGE]


def test_token_gap_under_its_older_name_is_a_histogram() -> None:
    name = "vllm:time_per_output_token_seconds"
    text = f'{name}_bucket{{le="0.01"}} 1\n{name}_bucket{{le="+Inf"}} 3\n{name}_sum 0.5'
    assert Histogram((0.01, INF), (1, 3), 0.5) == only(text).histograms[metrics.INTER_TOKEN_LATENCY]


def test_engines_of_one_page_are_told_apart_and_what_they_share_has_a_row_of_its_own() -> None:
    text = """
vllm:num_requests_running{engine="0",model_name="m"} 3
vllm:num_requests_running{engine="1",model_name="m"} 4
vllm:admission_rejections_total{model_name="m",reason="queue"} 5
process_resident_memory_bytes 1000
"""
    found = {snapshot.engine: dict(snapshot.values) for snapshot in snapshots(text)}
    assert {
        "0": {metrics.REQUESTS_RUNNING: 3.0},
        "1": {metrics.REQUESTS_RUNNING: 4.0},
        "": {metrics.ADMISSION_REJECTIONS: 5.0, metrics.PROCESS_RESIDENT_BYTES: 1000.0},
    } == found


def test_histogram_without_an_engine_label_belongs_to_no_engine_in_particular() -> None:
    name = "http_request_duration_seconds"
    text = f"""
vllm:num_requests_running{{engine="0",model_name="m"}} 3
vllm:num_requests_running{{engine="1",model_name="m"}} 4
{name}_bucket{{le="+Inf",handler="/v1/chat/completions"}} 7
{name}_sum{{handler="/v1/chat/completions"}} 2
"""
    found = {snapshot.engine: dict(snapshot.histograms) for snapshot in snapshots(text)}
    assert {"0": {}, "1": {}, "": {metrics.HTTP_DURATION: Histogram((INF,), (7,), 2.0)}} == found


def test_models_of_one_page_are_told_apart() -> None:
    text = """
vllm:num_requests_running{engine="0",model_name="a"} 1
vllm:num_requests_running{engine="0",model_name="b"} 2
vllm:admission_rejections_total{model_name="a",reason="queue"} 5
vllm:admission_rejections_total{model_name="b",reason="queue"} 6
"""
    found = {(snapshot.engine, snapshot.model): dict(snapshot.values) for snapshot in snapshots(text)}
    assert {
        ("0", "a"): {metrics.REQUESTS_RUNNING: 1.0},
        ("0", "b"): {metrics.REQUESTS_RUNNING: 2.0},
        ("", "a"): {metrics.ADMISSION_REJECTIONS: 5.0},
        ("", "b"): {metrics.ADMISSION_REJECTIONS: 6.0},
    } == found


def test_engine_that_names_no_model_serves_the_one_that_the_page_names_elsewhere() -> None:
    text = 'vllm:num_requests_running{engine="0"} 1\nvllm:admission_rejections_total{model_name="m",reason="queue"} 5'
    assert ("0", "m") == (only(text).engine, only(text).model)


def test_counts_of_several_workers_are_added_and_shares_are_those_of_the_fullest() -> None:
    text = """
ray_vllm:num_requests_running{engine="0",model_name="m",WorkerId="1"} 3
ray_vllm:num_requests_running{engine="0",model_name="m",WorkerId="2"} 4
ray_vllm:kv_cache_usage_perc{engine="0",model_name="m",WorkerId="1"} 0.8
ray_vllm:kv_cache_usage_perc{engine="0",model_name="m",WorkerId="2"} 0.9
"""
    assert {metrics.REQUESTS_RUNNING: 7.0, metrics.KV_CACHE_USAGE: 0.9} == only(text).values


@pytest.mark.parametrize(
    "text",
    ["process_cpu_seconds_total 3\nnode_load1 2", 'vllm:num_requests_running{server="http://a:8000"} 9', "# HELP up Whether"],
    ids=["another exporter", "router", "comments"],
)
def test_page_without_anything_of_an_engine_gives_no_snapshot(text: str) -> None:
    assert [] == snapshots(text)


@pytest.mark.parametrize(("start", "expected"), [("1e300", None), ("NaN", None), ("-1", None), ("1.5e9", 1_500_000_000)])
def test_start_that_is_no_time_is_unknown(start: str, expected: float | None) -> None:
    started_at = only(f"vllm:num_requests_running 1\nprocess_start_time_seconds {start}").process_started_at
    assert expected == (None if started_at is None else started_at.timestamp())


def test_start_comes_from_a_counter_where_the_process_does_not_say() -> None:
    text = 'vllm:prompt_tokens_total{engine="0"} 1\nvllm:prompt_tokens_created{engine="0"} 1.5e9'
    assert datetime.fromtimestamp(1.5e9, UTC) == only(text).process_started_at


def test_longest_names_are_cut() -> None:
    assert "m" * 200 == only(f'vllm:num_requests_running{{engine="0",model_name="{"m" * 5000}"}} 1').model


def test_series_of_a_router_under_the_engines_prefix_are_not_the_engines() -> None:
    text = 'vllm:num_requests_running{server="http://a:8000"} 9\nvllm:num_requests_running{engine="0",model_name="m"} 1'
    assert 1.0 == only(text).values[metrics.REQUESTS_RUNNING]


@pytest.mark.parametrize(
    "counts",
    [(5, 3, 6), (1, 2, float("nan")), (-1, 2, 3), (1, 2, 1e30)],
    ids=["falling", "not a number", "negative", "beyond an integer"],
)
def test_histogram_that_makes_no_sense_is_left_out(counts: tuple[float, float, float]) -> None:
    name = "vllm:time_to_first_token_seconds"
    lines = [f'{name}_bucket{{le="{edge}"}} {count}' for edge, count in zip(("0.1", "1", "+Inf"), counts, strict=True)]
    text = "\n".join([*lines, f"{name}_sum 1", "vllm:num_requests_running 1"])
    before = REGISTRY.get_sample_value("llm_slo_histograms_malformed_total") or 0
    snapshot = only(text)
    assert ({}, 1.0) == (snapshot.histograms, snapshot.values[metrics.REQUESTS_RUNNING])
    assert before + 1 == REGISTRY.get_sample_value("llm_slo_histograms_malformed_total")


@pytest.mark.parametrize(
    ("other", "expected"),
    [("0.1", (2, 4)), ("0.5", None)],
    ids=["the same edges", "other edges"],
)
def test_histogram_of_several_workers_is_added_only_by_the_same_edges(other: str, expected: tuple[int, int] | None) -> None:
    name = "vllm:time_to_first_token_seconds_bucket"
    workers = (("a", "0.1"), ("b", other))
    lines = [
        f'{name}{{worker="{worker}",le="{le}"}} {count}' for worker, edge in workers for le, count in ((edge, 1), ("+Inf", 2))
    ]
    histogram = only("\n".join(lines)).histograms.get(metrics.TTFT)
    assert expected == (histogram and histogram.counts)


@pytest.mark.parametrize("edges", [("0.1", "1"), ("0.1", "high"), ("NaN", "+Inf")], ids=["no last edge", "a word", "NaN"])
def test_histogram_whose_edges_make_no_sense_is_left_out(edges: tuple[str, str]) -> None:
    name = "vllm:time_to_first_token_seconds"
    assert {} == only("\n".join(f'{name}_bucket{{le="{edge}"}} 1' for edge in edges)).histograms


def test_value_that_is_no_number_is_unknown() -> None:
    assert {} == only('vllm:kv_cache_usage_perc{engine="0",model_name="m"} NaN').values


def test_model_comes_from_the_configuration_where_the_page_does_not_say() -> None:
    assert ["configured"] == [snapshot.model for snapshot in snapshots("vllm:num_requests_running 1", model="configured")]


def test_names_that_nobody_reads_are_listed() -> None:
    text = 'vllm:brand_new_total 1\nvllm:time_to_first_token_seconds_bucket{le="+Inf"} 1\nvllm:prompt_tokens_created 1'
    assert ("brand_new",) == read_page(text).unknown
