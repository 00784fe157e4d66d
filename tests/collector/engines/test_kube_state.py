from __future__ import annotations

from pathlib import Path

import pytest

from collector.engines.kube_state import KEPT_LINES, Container, Place, read_addresses, read_containers, see_containers
from collector.exposition import parse

TEXT = (Path(__file__).parent.parent.parent / "data" / "engines" / "kube_state.txt").read_text()
PLACE = Place("llm", "vllm-0", "engine", "u0")
KILLED = Container(1, "OOMKilled", "137")


def test_containers_of_a_page_have_their_last_ending() -> None:
    assert {
        Place("llm", "vllm-0", "engine", "u0"): Container(0, "", ""),
        Place("llm", "vllm-7f9c-abcde", "engine", "u1"): Container(3, "OOMKilled", "137"),
        Place("llm", "other-0", "app", "u2"): Container(1, "", ""),
    } == read_containers(parse(TEXT))


def test_only_lines_of_containers_are_kept_of_a_clusters_page() -> None:
    kept = KEPT_LINES.findall(TEXT)
    assert 8 == len(kept)
    assert read_containers(parse(TEXT)) == read_containers(parse("\n".join(kept)))


def test_restart_of_a_killed_container_is_told() -> None:
    (seen,) = see_containers({PLACE: Container(0, "", "")}, {PLACE: KILLED})
    assert seen.oom_killed
    assert {
        "namespace": "llm",
        "pod": "vllm-0",
        "container": "engine",
        "restarts": "1",
        "reason": "OOMKilled",
        "exit_code": "137",
    } == seen.detail


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, {PLACE: KILLED}),
        ({}, {PLACE: KILLED}),
        ({PLACE: KILLED}, {PLACE: KILLED}),
        ({PLACE: Container(3, "Error", "1")}, {PLACE: KILLED}),
        ({PLACE: KILLED}, {}),
    ],
    ids=["the first look", "a new pod", "nothing new", "counts anew", "gone"],
)
def test_reason_without_one_more_restart_says_nothing_new(
    before: dict[Place, Container] | None, now: dict[Place, Container]
) -> None:
    assert [] == see_containers(before, now)


def test_restart_for_another_reason_is_no_lack_of_memory() -> None:
    (seen,) = see_containers({PLACE: KILLED}, {PLACE: Container(2, "Error", "1")})
    assert (False, "Error") == (seen.oom_killed, seen.detail["reason"])


def test_reason_that_a_container_no_longer_has_is_none() -> None:
    text = """
kube_pod_container_status_restarts_total{namespace="n",pod="p",uid="u",container="c"} 1
kube_pod_container_status_last_terminated_reason{namespace="n",pod="p",uid="u",container="c",reason="OOMKilled"} 0
"""
    assert {Place("n", "p", "c", "u"): Container(1, "", "")} == read_containers(parse(text))


def test_address_names_a_pod_but_that_of_a_host_names_none() -> None:
    host = "\n".join(f'kube_pod_info{{namespace="n",pod="{pod}",pod_ip="10.0.0.1"}} 1' for pod in ("a", "b"))
    expected = {"10.1.0.7": "vllm-0", "10.1.0.8": "vllm-7f9c-abcde", "10.1.0.9": "other-0"}
    assert expected == read_addresses(parse(TEXT + host))


def test_prometheus_on_the_way_renames_labels() -> None:
    labels = 'namespace="monitoring",pod="ksm",exported_namespace="llm",exported_pod="vllm-0",exported_container="engine"'
    text = f'kube_pod_container_status_restarts_total{{{labels},uid="u0"}} 1'
    assert [PLACE] == list(read_containers(parse(text)))
