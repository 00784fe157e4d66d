from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector import metrics
from collector.engines import Reader, Reading, read_page
from collector.metrics import EngineName
from collector.sample import Histogram, Snapshot

PAGES = Path(__file__).parent.parent.parent / "data" / "engines"
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
INF = float("inf")


def page(name: str) -> str:
    return (PAGES / f"{name}.txt").read_text()


def snapshots(text: str) -> list[Snapshot]:
    plan, exposition = Reader().parse(text)
    assert plan is not None
    assert EngineName.SGLANG is plan.engine.name
    return plan.snapshots(exposition.values, scraped_at=AT, replica="sglang-0", model=None, scrape_seconds=0.01)


def test_page_of_the_oldest_version_is_read_under_our_names() -> None:
    expected = {
        "requests_running": 161.0,
        "requests_waiting": 2826.0,
        "kv_cache_usage_ratio": 0.28,
        "prompt_tokens": 8.128902e06,
        "prefix_cache_queries": 8.128902e06,
        "generation_tokens": 7.557572e06,
        "requests_finished_unspecified": 7000.0,
        "ttft_seconds_sum": 2.3518979474117756e06,
        "ttft_seconds_count": 7000.0,
        "inter_token_latency_seconds_sum": 866964.5791549598,
        "inter_token_latency_seconds_count": 7400.0,
        "e2e_latency_seconds_sum": 3.116093850019932e06,
        "e2e_latency_seconds_count": 7000.0,
    }
    assert (Reading("0", "meta-llama/Llama-3.1-8B-Instruct", expected),) == read_page(page("sglang_0.4.3")).engines


def test_engines_under_data_parallel_attention_are_apart_and_ranks_that_say_the_same_count_once() -> None:
    found = {(one.label, one.model): dict(one.metrics) for one in read_page(page("sglang_0.5.9_data_parallel")).engines}
    engines = {
        label: {
            "requests_running": running,
            "requests_waiting": waiting,
            "kv_cache_usage_ratio": usage,
            "prompt_tokens_local_compute": 100.0 + number,
            "prompt_tokens_local_cache_hit": 50.0 + number,
            "preemptions": preemptions,
            "queue_seconds_sum": queue,
            "queue_seconds_count": count,
        }
        for number, (label, running, waiting, usage, preemptions, queue, count) in enumerate(
            (("0", 3.0, 0.0, 0.25, 1.0, 1.5, 3.0), ("1", 5.0, 2.0, 0.75, 4.0, 2.0, 4.0))
        )
    }
    shared = {
        "prompt_tokens": 1000.0,
        "generation_tokens": 200.0,
        "prompt_tokens_cached": 350.0,
        "prompt_tokens_cached_device": 300.0,
        "prompt_tokens_cached_host": 40.0,
        "prompt_tokens_cached_external": 7.0,
        "prefix_cache_queries": 1000.0,
        "prefix_cache_hits": 350.0,
        "requests_finished_unspecified": 21.0,
        "http_requests_2xx": 21.0,
        "http_requests_4xx": 4.0,
        "http_requests_5xx": 1.0,
        "ttft_seconds_sum": 9.5,
        "ttft_seconds_count": 20.0,
        "inter_token_latency_seconds_sum": 7.25,
        "inter_token_latency_seconds_count": 180.0,
    }
    assert {("0", "m"): engines["0"], ("1", "m"): engines["1"], ("", "m"): shared} == found


def test_priorities_are_parts_of_their_total_and_streams_are_added() -> None:
    (reading,) = read_page(page("sglang_0.5.23_decode")).engines
    expected = {"requests_running": 7.0, "requests_waiting": 2.0, "prompt_tokens": 1000.0, "generation_tokens": 100.0}
    assert expected == {name: reading.metrics[name] for name in expected}
    assert (23.0, 10.0) == (reading.metrics["e2e_latency_seconds_sum"], reading.metrics["e2e_latency_seconds_count"])


def test_histogram_of_several_series_is_added_edge_by_edge() -> None:
    (snapshot,) = snapshots(page("sglang_0.5.23_decode"))
    assert Histogram((1.0, 10.0, INF), (4, 9, 10), 23.0) == snapshot.histograms[metrics.E2E_LATENCY]


def test_role_is_that_of_the_engine_where_it_does_one_thing() -> None:
    assert ["decode"] == [snapshot.role for snapshot in snapshots(page("sglang_0.5.23_decode"))]
    assert {None} == {snapshot.role for snapshot in snapshots(page("sglang_0.5.9_data_parallel"))}


def test_parts_alone_are_added_where_no_total_is_there() -> None:
    text = "\n".join(f'sglang:num_running_reqs{{priority="{priority}"}} {priority}' for priority in (1, 2))
    assert {"requests_running": 3.0} == dict(read_page(text).engines[0].metrics)


def test_start_of_the_process_is_never_known() -> None:
    assert {None} == {snapshot.process_started_at for snapshot in snapshots(page("sglang_0.5.23_decode"))}


@pytest.mark.parametrize("name", ["sglang_0.4.3", "sglang_0.5.9_data_parallel", "sglang_0.5.23_decode"])
def test_every_name_of_a_page_is_known(name: str) -> None:
    assert () == read_page(page(name)).unknown


def test_page_that_ray_wrote_has_the_same_names_with_an_underscore() -> None:
    assert ("sglang", 4.0) == (
        read_page("sglang_num_running_reqs 4").engine,
        read_page("sglang_num_running_reqs 4").engines[0].metrics["requests_running"],
    )
