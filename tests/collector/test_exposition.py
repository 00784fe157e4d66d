from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from collector import exposition
from collector.errors import MalformedExposition
from collector.exposition import Parser, parse
from collector.sample import Sample

VLLM = Path(__file__).parent.parent / "data" / "vllm"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("up 1", Sample("up", {}, 1.0)),
        ("up\t1  1795476346000", Sample("up", {}, 1.0)),
        ('a{b="c"} 2.5e3', Sample("a", {"b": "c"}, 2500.0)),
        ('a{b="c",} 1', Sample("a", {"b": "c"}, 1.0)),
        ('a { b = "c" , d="" } 1', Sample("a", {"b": "c", "d": ""}, 1.0)),
        ('a{b="}{,=\\"\\\\\\n"} 1', Sample("a", {"b": '}{,="\\\n'}, 1.0)),
        ('a{le="+Inf"} +Inf', Sample("a", {"le": "+Inf"}, math.inf)),
        ("a:b_c{} -1", Sample("a:b_c", {}, -1.0)),
        ('a{b="ä ö"} 1 -5', Sample("a", {"b": "ä ö"}, 1.0)),
        ("a 1 1520879607.789", Sample("a", {}, 1.0)),
        ("a_total 17 # {} 0.5", Sample("a_total", {}, 17.0)),
        ('a_bucket{le="1"} 8 # {trace_id="x y"} 0.67 1520879607.789', Sample("a_bucket", {"le": "1"}, 8.0)),
        ('a_bucket{le="1"} 8 1520879607 # {t="}"} 0.67', Sample("a_bucket", {"le": "1"}, 8.0)),
        ('{"a"} 1', Sample("a", {}, 1.0)),
        ('{"a.b", "c.d"="e", f="g"} 1 5', Sample("a.b", {"c.d": "e", "f": "g"}, 1.0)),
    ],
)
def test_line_of_the_format_is_a_sample(line: str, expected: Sample) -> None:
    assert [expected] == parse(line)


def test_comments_blank_lines_and_carriage_returns_are_no_samples() -> None:
    text = "# HELP up Whether\r\n# TYPE up gauge\r\n\r\nup 1\r\n# EOF\r\n"
    assert [Sample("up", {}, 1.0)] == parse(text)


def test_value_may_be_no_number_by_name() -> None:
    (sample,) = parse("a NaN")
    assert math.isnan(sample.value)


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html>\n<html><body>Bad gateway</body></html>",
        '{"error": "not found"}',
        "up",
        "up one",
        "up 1_000",
        "up 1#2",
        "up 1 2 3",
        "up 1 # no exemplar",
        "up1.0",
        "a{b=c} 1",
        'a{b="c} 1',
        'a{b="c\0"} 1',
        '{"a"="b"} 1',
        '{a="b"} 1',
        "",
        "\n\n",
    ],
)
def test_what_is_no_exposition_is_said_to_be_none(text: str) -> None:
    with pytest.raises(MalformedExposition):
        parse(text)


def test_error_quotes_the_first_80_characters() -> None:
    with pytest.raises(MalformedExposition) as caught:
        parse("<html>" + "x" * 500)
    assert repr("<html>" + "x" * 74) in str(caught.value)


_NAME = st.from_regex(r"[a-z_][a-z0-9_:]{0,8}", fullmatch=True).filter(lambda name: not name.endswith(("_created", "_total")))
_LABEL = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=10)
_VALUE = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53).map(float)


def test_series_that_is_there_twice_has_its_last_value() -> None:
    assert [Sample("a", {"c": "2", "b": "1"}, 5.0)] == parse('a{b="1",c="2"} 4\na{c="2",b="1"} 5')


@given(st.lists(st.tuples(_NAME, st.dictionaries(_LABEL, _TEXT, max_size=3), _VALUE), min_size=1, max_size=5))
def test_samples_equal_those_of_prometheus_own_parser(samples: list[tuple[str, dict[str, str], float]]) -> None:
    text = "".join(f"{name}{_braces(labels)} {value!r}\n" for name, labels, value in samples)
    reference = {
        (sample.name, frozenset(sample.labels.items())): Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert list(reference.values()) == parse(text)


def _braces(labels: dict[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


@pytest.mark.parametrize("path", sorted(VLLM.glob("*.txt")), ids=lambda path: path.stem)
def test_real_pages_hold_what_prometheus_own_parser_finds_in_them(path: Path) -> None:
    def sort_key(sample: Sample) -> tuple[str, list[tuple[str, str]], float]:
        return sample.name, sorted(sample.labels.items()), sample.value

    text = path.read_text()
    reference = [Sample(*sample[:3]) for family in text_string_to_metric_families(text) for sample in family.samples]
    assert sorted(map(sort_key, reference)) == sorted(map(sort_key, parse(text)))


def test_page_of_openmetrics_is_read_as_its_own_parser_reads_it() -> None:
    text = """# HELP requests Requests
# TYPE requests counter
requests_total{code="200"} 17.0 1520879607.789 # {trace_id="KOO5S4vxi0o"} 1.0
requests_created{code="200"} 1.520872607123e+09 1520879607.789
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_bucket{le="0.1"} 8.0 # {} 0.054
wait_seconds_bucket{le="+Inf"} 9.0 # {trace_id="a b"} 5.4 1.520879607789e+09
wait_seconds_count 9.0
wait_seconds_sum 6.5
# TYPE build info
build_info{version="1"} 1.0
# EOF
"""
    reference = [
        Sample(*sample[:3]) for family in openmetrics.text_string_to_metric_families(text) for sample in family.samples
    ]
    assert reference == parse(text)


_PAGE = """# HELP a Some
# TYPE a counter
a{b="c"} 1
a{b="d e"} 2.5e3

e +Inf
f{g="h"} -0
a{b="c"} 7
"""


def test_parser_reads_the_next_page_of_a_layout_as_if_it_were_the_first() -> None:
    parser = Parser()
    first = parser.parse(_PAGE)
    second = parser.parse(_PAGE.replace("2.5e3", "99").replace('c"} 7', 'c"} 8'))
    assert [8.0, 99.0, math.inf, 0.0] == list(second.values)
    assert first.layout is second.layout
    assert frozenset({"a"}) == first.layout.declared


@pytest.mark.parametrize(
    "text",
    [
        "a 5 6",
        "a 5_0",
        "a \u00a05",
        "a  5",
        "a 5 ",
        "a\t5",
        "a 5 # {} 1",
        "a",
        "5",
        "a nan",
        "a 0x10",
        "b 5",
        "# a 5",
        "",
        "a 5\n",
        "a 5\na 6",
        "a 5\r",
        "\u0660",
        "a \u0660",
    ],
)
def test_line_that_does_not_fit_the_known_layout_is_read_as_without_it(text: str) -> None:
    parser = Parser()
    parser.parse("a 5")
    assert outcome(parse, text) == outcome(lambda text: parser.parse(text).samples(), text)


def outcome(read: Callable[[str], list[Sample]], text: str) -> str:
    try:
        return repr(read(text))
    except MalformedExposition as malformed:
        return str(malformed)


_LINES = st.sampled_from(
    [*_PAGE.splitlines(), 'a{b="c"} 8', 'a{b="c"} 8 9', "e 5", "e  5", "# TYPE e gauge", "5", "<html>", "e 1_0", "e"]
)


@given(st.lists(st.lists(_LINES, max_size=6), min_size=1, max_size=5))
def test_pages_one_after_the_other_are_read_as_each_alone(pages: list[list[str]]) -> None:
    parser = Parser()
    for page in pages:
        text = "\n".join(page)
        assert outcome(parse, text) == outcome(lambda text: parser.parse(text).samples(), text)


@given(
    st.lists(
        st.tuples(_NAME, st.dictionaries(_LABEL, _TEXT, max_size=3), st.lists(_VALUE, min_size=3, max_size=3)), max_size=6
    ),
    st.sampled_from(["", " 1795476346000"]),
)
def test_pages_of_one_layout_equal_those_of_prometheus_own_parser(
    series: list[tuple[str, dict[str, str], list[float]]], time: str
) -> None:
    parser = Parser()
    for number in range(3):
        lines = [f"{name}{_braces(labels)} {values[number]!r}{time}\n" for name, labels, values in series]
        text = "".join(["# HELP up Whether\n# TYPE up gauge\nup 1\n", *lines])
        reference = {
            (sample.name, frozenset(sample.labels.items())): Sample(sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert list(reference.values()) == parser.parse(text).samples()


def test_targets_that_write_the_same_lines_share_one_layout() -> None:
    text = (VLLM / "metrics_load.txt").read_text()
    assert Parser().parse(text).layout is Parser().parse(text.replace(" 23.0\n", " 24.0\n")).layout


def test_only_some_layouts_are_remembered() -> None:
    for number in range(3 * exposition.MOST_LAYOUTS):
        Parser().parse(f"# TYPE a{number} gauge\na{number} 1")
        Parser().parse(f"# TYPE a gauge\na{number} 1")
    assert exposition.MOST_LAYOUTS == len(exposition._LAYOUTS._known)
    assert exposition.MOST_ALIKE >= max(map(len, exposition._LAYOUTS._known.values()))
