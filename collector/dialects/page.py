"""docs/dialects.md, written from the table: ``python -m collector.dialects.page > docs/dialects.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from collector.dialects import DIALECTS, Dialect, Role, Source
from collector.request import TokenProvenance
from collector.span import Span, SpanKind, StatusCode

_COLUMNS = {
    "server_address": "replica",
    "server_port": "replica",
    "server_url": "replica",
    "end_user": "end_user_hash",
    "session": "session_hash",
    "path": "operation",
    "gateway_cache_key": "gateway_cache_hit",
}
"""Fields that are not called what the column is."""
_HEAD = """\
# Spans that are understood

Written from the table in `collector/dialects/` by `python -m collector.dialects.page > docs/dialects.md`; a test compares.

A span is read by the first dialect of this list that recognises it. Scope and attribute keys decide, with values only where a
row says so; never the span's name or `service.name`, which users choose. What no dialect recognises is counted as ignored.

Where several keys fill a column the first that is present wins; they are never summed. Attributes that neither this page nor
the configuration (`attributes`) names are dropped while a body is decoded: prompts and answers among them.

A row is one call as one party saw it: gateway, client or engine. Tokens that a failed call states as zero are unknown. Tenant,
environment, replica, model, end user and session can also come from attributes that the configuration names.
"""
_ROLES = {
    Role.CALL: "a call",
    Role.ENVELOPE: "the HTTP request around calls; a row where no other span tells more",
    Role.PART: "a part of a call, never a row of its own",
    Role.NOTHING: "no row",
}


def page() -> str:
    """The page, in Markdown."""
    overview = ["| # | dialect | producer | party | what a span is | recognised by |", "|---|---|---|---|---|---|"]
    for number, dialect in enumerate(DIALECTS, 1):
        cells = (str(number), _link(dialect), dialect.title, _party(dialect), _role(dialect), _recognised(dialect))
        overview.append(f"| {' | '.join(cells)} |")
    sections = [section for dialect in DIALECTS for section in _section(dialect)]
    return "\n".join([_HEAD, *overview, "", *sections])


def _link(dialect: Dialect) -> str:
    return f"`{dialect.name}`" if dialect.role is Role.NOTHING else f"[`{dialect.name}`](#{dialect.name})"


def _party(dialect: Dialect) -> str:
    """Which party a dialect's spans are the view of, and on which kind of span that depends."""
    parties = {kind: dialect.observed_by(_span(kind)).name.lower() for kind in (SpanKind.SERVER, SpanKind.CLIENT)}
    server, other = parties.values()
    return server if server == other else f"{server} (kind SERVER), else {other}"


def _span(kind: SpanKind) -> Span:
    return Span(bytes(16), bytes(8), b"", "", kind, 0, 0, StatusCode.UNSET, {}, (), {}, "", "")


def _role(dialect: Dialect) -> str:
    return "an attempt at the HTTP request around it" if dialect.enclosed else _ROLES[dialect.role]


def _recognised(dialect: Dialect) -> str:
    ways = []
    if dialect.scopes:
        ways.append(f"scope {_listed(dialect.scopes)}")
    if dialect.marks:
        ways.append(f"{'attribute ' if len(dialect.marks) == 1 else 'one of '}{_listed(dialect.marks)}")
    where = " or ".join(ways)
    if where and dialect.besides:
        return f"{where}, {dialect.besides}" if dialect.besides.startswith("which") else f"{where}; and {dialect.besides}"
    return where or dialect.besides


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _section(dialect: Dialect) -> Iterator[str]:
    if dialect.role is Role.NOTHING:
        return
    yield f"## {dialect.name}\n"
    yield f"{dialect.title}.\n"
    yield "| column | read from |"
    yield "|---|---|"
    for column, places in _columns(dialect).items():
        yield f"| `{column}` | {', '.join(places)} |"
    yield ""
    if dialect.provenance is not TokenProvenance.REPORTED:
        yield f"Token counts are the {dialect.provenance.name.lower()}'s own.\n"
    if dialect.unknown:
        yield f"It cannot tell: {'; '.join(dialect.unknown)}.\n"


def _columns(dialect: Dialect) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for field, sources in dialect.fields.items():
        columns.setdefault(_COLUMNS.get(field, field), []).extend(map(_source, sources))
    for field, sources in dialect.event_fields.items():
        columns.setdefault(_COLUMNS.get(field, field), []).extend(f"{_source(one)} of a span event" for one in sources)
    first_token = [f"the first span event `{name}`" for name in sorted(dialect.first_token_events)]
    first_token += [f"the time in `{key}`" for key in dialect.first_token_times]
    if first_token:
        columns.setdefault("ttft_seconds", []).extend(first_token)
    columns["outcome"] = [
        *(f"`{key}`" for key in dialect.error_types),
        "exception events",
        *(f"text of `{key}` (classified and dropped)" for key in sorted(dialect.error_texts)),
        "status message (classified and dropped)",
        *(f"words in `{key}`" for key in dialect.words),
        *(f"`{word}` in `{key}` without an error" for key, word in dialect.abandoned.items()),
        *(["HTTP status"] if "http_status" in dialect.fields else []),
        "span status",
    ]
    return {column: list(dict.fromkeys(places)) for column, places in sorted(columns.items())}


def _source(source: Source) -> str:
    key, _, path = source.key.partition("#")
    place = f"`{path}` in `{key}`" if path else f"`{key}`"
    return place if source.scale == 1 else f"{place} × {source.scale:g}"


if __name__ == "__main__":
    sys.stdout.write(page())
