"""The Prometheus text format (0.0.4 and 1.0.0) to Samples.

Most lines of an engine's page are plain: a name, labels without escapes, a value. Those are cut by one expression; anything
else goes by characters. A page that is something else, HTML of a proxy above all, is no exposition and is said to be none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from collector.errors import MalformedExposition
from collector.sample import Sample

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_LABEL = re.compile(rf"\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_.]*|{_TEXT})\s*=\s*(?P<value>{_TEXT})\s*(?:,|$)", re.DOTALL)
_LABELS = rf'(?P<labels>(?:[^"}}]|{_TEXT})*)\}}[ \t]*'
_VALUE = r'(?P<value>[^ \t}"]+)(?:[ \t]+-?\d+)?'
_LINE = re.compile(rf"(?P<name>{_NAME})(?:[ \t]*\{{{_LABELS}|[ \t]+){_VALUE}", re.DOTALL)
_QUOTED_LINE = re.compile(rf"\{{[ \t]*(?P<name>{_TEXT})[ \t]*,?{_LABELS}{_VALUE}", re.DOTALL)
"""Since 1.0.0 a name may be in quotes, and is inside the braces then."""
_PLAIN_LABELS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*)",?')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}
QUOTED = 80
"""Characters of the offending text that an error quotes."""


def parse(text: str) -> list[Sample]:
    """Every series of a page, in its order. Comments, HELP and TYPE are skipped; of a series given twice the last value holds.

    :raises MalformedExposition: for a page that is no exposition, quoting the first 80 characters of what is not
    """
    # Counters are added over labels later on: a series that is there twice would count twice.
    return list({(sample.name, tuple(sorted(sample.labels.items()))): sample for sample in _samples(text)}.values())


def _samples(text: str) -> Iterator[Sample]:
    seen = False
    for line in text.replace("\r\n", "\n").split("\n"):
        stripped = line.strip(" \t")
        if not stripped or stripped.startswith("#"):
            seen = seen or bool(stripped)
            continue
        match = _LINE.fullmatch(stripped) or _QUOTED_LINE.fullmatch(stripped)
        # Nothing that is kept may hold a NUL: Postgres takes none in a text.
        if match is None or "\0" in stripped:
            raise MalformedExposition(f"not a line of the Prometheus text format: {_quote(stripped)}")
        seen = True
        yield Sample(_name(match["name"]), _labels(match["labels"], stripped), _value(match["value"], stripped))
    if not seen:
        raise MalformedExposition("the page is empty")


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


def _value(text: str, line: str) -> float:
    if "_" not in text:  # float() would take 1_000
        try:
            return float(text)
        except ValueError:
            pass
    raise MalformedExposition(f"a value that is no number: {_quote(line)}")


def _quote(text: str) -> str:
    return repr(text[:QUOTED])
