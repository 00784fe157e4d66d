"""What Grafana does to a query before Postgres sees it: variables in the browser, then macros in the Postgres data source.

After ``pkg/tsdb/grafana-postgresql-datasource/macros.go`` and the ``sqlstring`` format of template variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

ALL = "$__all"
Choice = str | Sequence[str]
"""A single choice, the names of a multiple one, or ``ALL``."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
_MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")


class View(NamedTuple):
    """What a person looks at: the range, the interval that Grafana chose, and the variables."""

    start: datetime
    end: datetime
    interval: timedelta
    choices: Mapping[str, Choice]


def expand(sql: str, view: View, all_values: Mapping[str, str]) -> str:
    """The text that reaches Postgres. ``all_values``: the custom value for *All* of each variable that has one."""
    sql = _VARIABLE.sub(lambda match: _variable(match, view.choices, all_values), sql)
    # The data source replaces the longer name first.
    sql = sql.replace("$__interval_ms", str(view.interval // timedelta(milliseconds=1)))
    sql = sql.replace("$__interval", _duration(view.interval))
    whole = sql
    return _MACRO.sub(lambda match: _macro(match, view, whole), sql)


def _variable(match: re.Match[str], choices: Mapping[str, Choice], all_values: Mapping[str, str]) -> str:
    name, format, bare = match.groups()
    if bare is not None:
        assert bare.startswith("__"), f"the bare variable ${bare} is neither quoted nor escaped"
        return match[0]
    assert format == "sqlstring", f"{match[0]} is neither quoted nor escaped"
    chosen = choices[name]
    if chosen == ALL:
        return all_values[name]  # A custom value is inserted as it is.
    return ",".join("'" + part.replace("'", "''") + "'" for part in ([chosen] if isinstance(chosen, str) else chosen))


def _macro(match: re.Match[str], view: View, whole: str) -> str:
    name, arguments = match[1], [part.strip(" ") for part in match[2].split(",")]
    if name == "__timeGroup":
        after = whole.index(match[0]) + len(match[0])
        if whole[after : after + 1] == ",":  # An old form of the macro, which Grafana still believes in.
            name = "__timeGroupAlias"
    start, end = (f"'{time:%Y-%m-%dT%H:%M:%S.%f}Z'" for time in (view.start, view.end))
    match name:
        case "__timeFilter":
            return f"{arguments[0]} BETWEEN {start} AND {end}"
        case "__timeFrom":
            return start
        case "__timeTo":
            return end
        case "__timeGroup" | "__timeGroupAlias":
            assert len(arguments) == 2, f"{match[0]}: gaps are not filled by any board"
            seconds = f"{_seconds(arguments[1].strip(chr(39))):g}"
            group = f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"
            return group if name == "__timeGroup" else f'{group} AS "time"'
    raise AssertionError(f"Grafana knows no macro {match[0]}")


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _duration(interval: timedelta) -> str:
    for unit, seconds in _UNITS.items():
        count = interval / timedelta(seconds=seconds)
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    raise AssertionError(f"{interval} is no interval of Grafana's")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(h|m|s|ms)", text)
    assert match is not None, f"{text!r} is no interval"
    return int(match[1]) * _UNITS[match[2]]


class Source(NamedTuple):
    """One query of a board, and where it stands."""

    where: str
    sql: str
    format: str


def sources(board: Mapping[str, Any]) -> list[Source]:
    """Every query of a board's JSON: of panels, variables and annotations."""
    found = [
        Source(panel["title"], target["rawSql"], target["format"])
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found.append(Source(f"variable {variable['name']}", variable["query"], "table"))
    for annotation in board["annotations"]["list"]:
        found.append(Source(f"annotation {annotation['name']}", annotation["target"]["rawSql"], "annotation"))
    return found


def all_values(board: Mapping[str, Any]) -> dict[str, str]:
    """What a board's variables insert for *All*."""
    return {part["name"]: part["allValue"] for part in board["templating"]["list"] if part.get("includeAll")}
