"""Attributes that hold a whole document: the few values that a dialect reads. The rest can hold a prompt, and is dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from collector.span import Value

LONGEST_DOCUMENT = 2**20
"""Characters of a document that is read; nothing is known of a longer one."""
_LONGEST_TEXT = 256
_UNSTORABLE = re.compile("[\\0\ud800-\udfff]")


def read_document(key: str, text: str, paths: tuple[str, ...]) -> Iterator[tuple[str, Value]]:
    """The values at ``paths`` (``a.b``, ``choices.0.id``) as attributes named ``key#path``; what is not there is left out.

    The document is JSON. Of the text of a Python object, which some producers write, numbers are found by their name.
    """
    if not text or len(text) > LONGEST_DOCUMENT:
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        for path in paths:
            match = _number_named(path.rpartition(".")[2]).search(text)
            if match is not None:
                yield f"{key}#{path}", int(match["number"])
        return
    for path in paths:
        value = _at(document, path)
        if isinstance(value, bool | int | float) or (isinstance(value, str) and _is_short(value)):
            yield f"{key}#{path}", value


def _at(document: object, path: str) -> object:
    value = document
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _is_short(text: str) -> bool:
    # An escape may stand for half of a surrogate pair, which Postgres takes as little as a NUL.
    return 0 < len(text) <= _LONGEST_TEXT and _UNSTORABLE.search(text) is None


@lru_cache(maxsize=256)
def _number_named(name: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(name)}['\"]?\s*[:=]\s*(?P<number>\d{{1,12}})\b")
