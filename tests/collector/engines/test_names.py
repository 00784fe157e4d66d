"""Every metric that any version of an engine has is known: read, or left out on purpose."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.engines import EXPOSING, read_page
from collector.engines.engine import Engine, sources
from collector.engines.sglang import SGLANG
from collector.engines.vllm import VLLM
from collector.metrics import REQUESTS_RUNNING

DATA = Path(__file__).parent.parent.parent / "data"


def names_of(engine: Engine) -> Iterator[tuple[str, str]]:
    """Name and kind of all metrics of all versions, as they were found in the sources of each."""
    with (DATA / "metric_names" / f"{engine.name}.tsv").open() as file:
        for row in csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t"):
            yield row["name"], row["kind"]


def exposed(name: str, kind: str) -> str:
    """The lines that an exporter writes for a metric."""
    name = name.removesuffix("_total") if kind == "counter" else name
    labels = '{model_name="m"}'
    lines = {
        "counter": [f"{name}_total{labels} 1", f"{name}_created{labels} 1.5e9"],
        "histogram": [f'{name}_bucket{{le="+Inf",model_name="m"}} 1', f"{name}_sum{labels} 1", f"{name}_count{labels} 1"],
        "summary": [f"{name}_sum{labels} 1", f"{name}_count{labels} 1"],
    }
    return "\n".join(lines.get(kind, [f"{name}{labels} 1"]))


@pytest.mark.parametrize("engine", [VLLM, SGLANG], ids=lambda engine: engine.name)
def test_every_metric_of_every_version_is_known(engine: Engine) -> None:
    names = list(names_of(engine))
    page = read_page("\n".join(exposed(name, kind) for name, kind in names))
    assert len(names) > 80
    assert (engine.name.value, ()) == (page.engine, page.unknown)


@pytest.mark.parametrize("engine", [VLLM, SGLANG], ids=lambda engine: engine.name)
def test_metric_that_is_kept_is_found_under_each_of_its_names(engine: Engine) -> None:
    kinds = dict(names_of(engine))
    read = {source.name for sums in engine.sources.values() for added in sums for source in added if not source.label}
    for name, kind in kinds.items():
        stem = name.removeprefix(f"{engine.name}:")
        if {stem, stem.removesuffix("_total")} & read:
            (reading,) = read_page(exposed(name, kind)).engines
            assert reading.metrics, f"{name} is known and read by nobody"


@pytest.mark.parametrize("engine", EXPOSING, ids=lambda engine: engine.name)
def test_nothing_is_both_kept_and_left_out(engine: Engine) -> None:
    read = {source.name for sums in engine.sources.values() for added in sums for source in added}
    assert set() == read & engine.not_kept


def test_no_two_metrics_of_vllm_read_the_same_series() -> None:
    found = Counter(source for sums in VLLM.sources.values() for added in sums for source in added)
    assert [] == [source for source, count in found.items() if count > 1]


@pytest.mark.parametrize("path", sorted((DATA / "vllm").glob("*.txt")), ids=lambda path: path.stem)
def test_every_name_of_a_real_page_is_known(path: Path) -> None:
    assert () == read_page(path.read_text()).unknown


def test_unknown_names_are_listed_without_what_their_kind_adds() -> None:
    text = """
vllm:brand_new_total 1
vllm:brand_new_created 1
vllm:newer_seconds_bucket{le="+Inf"} 1
vllm:newer_seconds_sum 1
vllm:num_requests_running 1
process_brand_new 1
"""
    assert ("brand_new", "newer_seconds") == read_page(text).unknown


@pytest.mark.parametrize("text", ["a b", 'a{b="c"', "a{b=c}", "a+", ""])
def test_source_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="metric source"):
        sources({REQUESTS_RUNNING: [text]})
