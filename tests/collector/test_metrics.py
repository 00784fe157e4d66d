from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from collector import metrics
from collector.engines.vllm import unknown_names
from collector.exposition import parse
from collector.metrics import COUNTERS, FAMILIES, GAUGES, HISTOGRAMS

VLLM = Path(__file__).parent.parent / "data" / "vllm"
UNREAD = {"cache_config_info", "spec_decode_num_accepted_tokens_per_pos", "tool_call_parser_invocations"}
"""vLLM's families that are left out on purpose: labels that differ by version, a split by position, and another concern."""


def test_names_are_unique() -> None:
    assert [] == [name for name, count in Counter(family.name for family in FAMILIES).items() if count > 1]


def test_every_family_is_of_one_kind() -> None:
    assert Counter(FAMILIES) == Counter([*GAUGES, *COUNTERS, *HISTOGRAMS])


def test_names_fit_a_column_with_its_suffix() -> None:
    assert [] == [family.name for family in FAMILIES if len(f"{family.name}_buckets") > 63]


def test_no_two_families_read_the_same_series() -> None:
    sources = Counter(source for family in FAMILIES for source in family.vllm)
    assert [] == [source for source, count in sources.items() if count > 1]


@pytest.mark.parametrize("path", sorted(VLLM.glob("*.txt")), ids=lambda path: path.stem)
def test_every_name_of_a_real_page_is_read_or_left_out_on_purpose(path: Path) -> None:
    assert set() == set(unknown_names(parse(path.read_text()))) - UNREAD


@pytest.mark.parametrize("text", ["a b", 'a{b="c"', "a{b=c}"])
def test_source_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="metric source"):
        metrics._sources((text,))
