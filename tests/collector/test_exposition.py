from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collector.errors import MalformedExposition
from collector.exposition import parse
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
