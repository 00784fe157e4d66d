from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.discover.group import MalformedTargets, read_groups
from collector.target import Target

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["targets", "labels", "x"]), inner, max_size=3),
    max_leaves=12,
)


def test_groups_of_prometheus_are_read() -> None:
    document = [
        {
            "targets": ["10.0.0.1:8000", "[fd00::1]:8000"],
            "labels": {"model": "llama", "environment": "staging", "team": "ml", "__scheme__": "https"},
        },
        {"targets": ["vllm-0:8000"], "labels": {"replica": "a-0", "__metrics_path__": "/engine/metrics"}},
    ]
    assert (
        Target(url="https://10.0.0.1:8000", model="llama", environment="staging"),
        Target(url="https://[fd00::1]:8000", model="llama", environment="staging"),
        Target(url="http://vllm-0:8000/engine", replica="a-0"),
    ) == read_groups(document).targets


def test_an_address_that_is_none_rejects_itself_alone() -> None:
    found = read_groups([{"targets": ["http://a:1/metrics", 7, "b:1"], "labels": {}}])
    assert ("b:1",) == tuple(target.replica_name for target in found.targets)
    assert (
        "[0] http://a:1/metrics: expected HOST:PORT",
        "[0] 7: expected HOST:PORT",
    ) == found.rejected


def test_a_label_that_is_none_rejects_the_target_and_says_what_was_expected() -> None:
    found = read_groups([{"targets": ["a:1"], "labels": {"__metrics_path__": "/stats"}}])
    assert ("[0] a:1: __metrics_path__ is /stats: expected a path that ends with /metrics",) == found.rejected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, "found nothing: expected a list of groups with targets and labels"),
        ({"targets": []}, "found a dict: expected a list of groups with targets and labels"),
        (["a:1"], "[0]: expected a group with a list of targets"),
        ([{"targets": "a:1"}], "[0]: expected a group with a list of targets"),
        ([{"targets": [], "labels": ["x"]}], "[0].labels: found a list: expected names and values"),
    ],
)
def test_another_format_is_refused_whole(document: object, expected: str) -> None:
    with pytest.raises(MalformedTargets) as raised:
        read_groups(document)
    assert expected == str(raised.value)


@given(JSON)
def test_any_document_is_read_or_refused(document: Any) -> None:
    try:
        found = read_groups(document)
    except MalformedTargets:
        return
    assert len(found.targets) + len(found.rejected) == sum(len(group["targets"]) for group in document)
