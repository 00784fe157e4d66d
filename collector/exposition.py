"""The Prometheus text format (0.0.4 and 1.0.0), and OpenMetrics' text, to series and their values.

Most lines of an engine's page are plain: a name, labels without escapes, a value. Those are cut by one expression; anything
else goes by characters. A page that is something else, HTML of a proxy above all, is no exposition and is said to be none.

An engine writes the same lines again and again, and only their values move. A Parser remembers the layout of the last page, and
reads the next one by taking each line's known beginning away from it; what does not fit is read anew, line by line.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, TypeVar

from collector.errors import MalformedExposition
from collector.sample import Sample

Element = TypeVar("Element")

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_LABEL = re.compile(rf"\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_.]*|{_TEXT})\s*=\s*(?P<value>{_TEXT})\s*(?:,|$)", re.DOTALL)
_LABELS = rf'(?P<labels>(?:[^"}}]|{_TEXT})*)\}}[ \t]*'
_TIME = r"(?:[ \t]+-?[0-9][0-9.eE+-]*)?"
"""Milliseconds; OpenMetrics writes seconds, with a fraction."""
_EXEMPLAR = r"(?:[ \t]+#[ \t]*\{.*)?"
_VALUE = rf'(?P<value>[^ \t}}"#]+){_TIME}{_EXEMPLAR}'
_LINE = re.compile(rf"(?P<name>{_NAME})(?:[ \t]*\{{{_LABELS}|[ \t]+){_VALUE}", re.DOTALL)
_QUOTED_LINE = re.compile(rf"\{{[ \t]*(?P<name>{_TEXT})[ \t]*,?{_LABELS}{_VALUE}", re.DOTALL)
"""Since 1.0.0 a name may be in quotes, and is inside the braces then."""
_PLAIN_LABELS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*)",?')
_DECLARED = re.compile(rf"#[ \t]*TYPE[ \t]+(?P<name>{_NAME})[ \t]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}
QUOTED = 80
"""Characters of the offending text that an error quotes."""
MOST_LAYOUTS, MOST_ALIKE = 64, 4
"""Layouts that are remembered of all targets together: by their comments and length, and of each such sort."""


class Series(NamedTuple):
    """A metric's name and labels: what a value is of."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Layout:
    """The series of a page in its order, each once, and the names whose TYPE it says.

    Pages that have the same layout share this object, as long as it is remembered.
    """

    series: tuple[Series, ...]
    declared: frozenset[str]


class Exposition(NamedTuple):
    """A page: its layout, and a value for each of its series."""

    layout: Layout
    values: Sequence[float]

    def samples(self) -> list[Sample]:
        """Every series with its value."""
        return [Sample(*series, value) for series, value in zip(self.layout.series, self.values, strict=True)]


def parse(text: str) -> list[Sample]:
    """Every series of a page, in its order. Comments, HELP and TYPE are skipped; of a series given twice the last value holds.

    :raises MalformedExposition: for a page that is no exposition, quoting the first 80 characters of what is not
    """
    return Parser().parse(text).samples()


class Parser:
    """Reads the pages of one target, one after the other.

    It remembers the layout and the values of the last page, and nothing that changes a result.
    """

    def __init__(self) -> None:
        self._known: _Known | None = None
        self._texts: Sequence[str] = ()
        self._numbers: list[float] = []

    def parse(self, text: str) -> Exposition:
        """Read a page.

        :raises MalformedExposition: for a page that is no exposition, quoting the first 80 characters of what is not
        """
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        texts = self._recognise(text, lines)
        if self._known is not None and texts is not None:
            numbers = self._read(texts)
            if numbers is not None:
                return Exposition(self._known.layout, self._known.kept(numbers))
        page, self._known = _read_lines(lines)
        self._texts = ()
        if self._known is not None:
            _LAYOUTS.remember(lines, self._known)
        return page

    def _recognise(self, text: str, lines: Sequence[str]) -> Sequence[str] | None:
        """The texts of a page's values, where its layout is known: from the last page, or from another target's."""
        if self._known is not None and (texts := self._known.texts(text, lines)) is not None:
            return texts
        for known in _LAYOUTS.like(lines):
            if (texts := known.texts(text, lines)) is not None:
                self._known, self._texts = known, ()
                return texts
        return None

    def _read(self, texts: Sequence[str]) -> list[float] | None:
        """The numbers; ``None`` where one is none. Most are those of the last page: to compare is faster than to read."""
        if len(self._texts) != len(texts):
            numbers = _numbers(texts)
        else:
            changed = [place for place, (text, last) in enumerate(zip(texts, self._texts, strict=True)) if text != last]
            read = _numbers([texts[place] for place in changed])
            if read is None:
                return None
            numbers = self._numbers.copy()
            for place, number in zip(changed, read, strict=True):
                numbers[place] = number
        if numbers is not None:
            self._texts, self._numbers = texts, numbers
        return numbers


class _Line(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float
    value_at: int | None
    """Where in the line the value begins, where nothing follows it."""


class _Known(NamedTuple):
    """How to read a page of a known layout without looking at its names."""

    layout: Layout
    lines: int
    length: int
    """Characters of a page without its values."""
    comments: Callable[[Sequence[str]], tuple[str, ...]]
    said: tuple[str, ...]
    """The comments, which have to be the same."""
    samples: Callable[[Sequence[str]], tuple[str, ...]]
    beginnings: tuple[str, ...]
    """Of each line with a sample, everything before its value."""
    kept: Callable[[Sequence[float]], Sequence[float]]

    def texts(self, text: str, lines: Sequence[str]) -> Sequence[str] | None:
        """The texts of a page's values; ``None`` where it has another layout."""
        if len(lines) != self.lines or self.comments(lines) != self.said:
            return None
        rest = list(map(str.removeprefix, self.samples(lines), self.beginnings))
        # A line that begins otherwise stays whole, and the page is longer then than its values make it.
        return rest if sum(map(len, rest)) + self.length == len(text) else None


class _Layouts:
    """Layouts that pages had lately: replicas of one model write the same lines, and need one between them."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[_Known, ...]] = OrderedDict()

    def like(self, lines: Sequence[str]) -> tuple[_Known, ...]:
        """Those with as many lines and the same comments."""
        return self._known.get(_signature(lines), ())

    def remember(self, lines: Sequence[str], known: _Known) -> None:
        """Keep one more; the oldest are forgotten."""
        signature = _signature(lines)
        self._known[signature] = (known, *self._known.pop(signature, ()))[:MOST_ALIKE]
        while len(self._known) > MOST_LAYOUTS:
            self._known.popitem(last=False)


_LAYOUTS = _Layouts()


def _signature(lines: Sequence[str]) -> int:
    return hash((len(lines), *(line for line in lines if line.startswith("#"))))


def _read_lines(lines: Sequence[str]) -> tuple[Exposition, _Known | None]:
    """A page line by line, and how to read the next one of its layout.

    There is no such way where values cannot be told from the rest, as before a timestamp or an exemplar.
    """
    read = [(number, line) for number, line in enumerate(map(_read, lines)) if line is not None]
    if not read and not any("#" in line for line in lines):
        raise MalformedExposition("the page is empty")
    # Counters are added over labels later on: a series that is there twice would count twice.
    kept = list({(line.name, frozenset(line.labels.items())): place for place, (_, line) in enumerate(read)}.values())
    series = tuple(Series(read[place][1].name, read[place][1].labels) for place in kept)
    layout = Layout(series, frozenset(match["name"] for line in lines if (match := _DECLARED.match(line))))
    page = Exposition(layout, [read[place][1].value for place in kept])
    places = {number: line.value_at for number, line in read}
    if not places or None in places.values():
        return page, None
    comments = [number for number in range(len(lines)) if number not in places]
    beginnings = tuple(lines[number][:place] for number, place in places.items())
    known = _Known(
        layout,
        len(lines),
        len(lines) - 1 + sum(len(lines[number]) for number in comments) + sum(map(len, beginnings)),
        _picker(comments),
        _picker(comments)(lines),
        _picker(list(places)),
        beginnings,
        # Where no series is there twice, all are kept.
        (lambda values: values) if len(kept) == len(read) else _picker(kept),
    )
    return page, known


def _picker(places: Sequence[int]) -> Callable[[Sequence[Element]], tuple[Element, ...]]:
    """Takes some elements of a sequence."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda sequence: tuple(sequence[place] for place in places)


def _read(line: str) -> _Line | None:
    """A sample; ``None`` for a comment and an empty line."""
    stripped = line.strip(" \t")
    if not stripped or stripped.startswith("#"):
        return None
    match = _LINE.fullmatch(stripped) or _QUOTED_LINE.fullmatch(stripped)
    # Nothing that is kept may hold a NUL: Postgres takes none in a text.
    if match is None or "\0" in stripped:
        raise MalformedExposition(f"not a line of the Prometheus text format: {_quote(stripped)}")
    at = match.start("value") if match.end("value") == len(stripped) and stripped == line else None
    try:
        value = _number(match["value"])
    except ValueError:
        raise MalformedExposition(f"a value that is no number: {_quote(stripped)}") from None
    return _Line(_name(match["name"]), _labels(match["labels"], stripped), value, at)


def _labels(text: str | None, line: str) -> dict[str, str]:
    if not text:
        return {}
    plain = _PLAIN_LABELS.findall(text)
    if sum(len(name) + len(value) + 3 for name, value in plain) + len(plain) - (not text.endswith(",")) == len(text):
        return dict(plain)
    labels: dict[str, str] = {}
    position = 0
    while position < len(text.rstrip()):
        match = _LABEL.match(text, position)
        if match is None:
            raise MalformedExposition(f"labels that cannot be read: {_quote(line)}")
        labels[_name(match["name"])] = _ESCAPE.sub(_unescape, match["value"][1:-1])
        position = match.end()
    return labels


def _name(text: str) -> str:
    return _ESCAPE.sub(_unescape, text[1:-1]) if text.startswith('"') else text


def _unescape(match: re.Match[str]) -> str:
    # An unknown escape stands for itself, backslash included, as Prometheus reads it.
    return _ESCAPES.get(match[1], match[0])


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """Each text as a number; ``None`` where one is none, or has anything before or after it."""
    joined = "".join(texts)
    if texts and ("_" in joined or not joined.isascii() or joined.split() != [joined]):
        return None
    try:
        return list(map(float, texts))
    except ValueError:
        return None


def _number(text: str) -> float:
    """:raises ValueError: for what is no number"""
    if "_" in text:  # float() would take 1_000
        raise ValueError(text)
    return float(text)


def _quote(text: str) -> str:
    return repr(text[:QUOTED])
