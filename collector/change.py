"""The Change as pipelines post it and as scrapes find it: text in, what was done out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from collector.errors import MalformedBody
from collector.event import FOUND, Change, ChangeKind

LARGEST_BYTES = 2**14
LONGEST_NAME = 200
LONGEST_SOURCE = 100
MOST_DETAILS = 20
LONGEST_DETAIL = 256
OLDEST, LATEST = timedelta(days=7), timedelta(hours=1)
"""How far from now a change may have taken effect."""
MEASURED = frozenset({"num_gpu_blocks", "num_cpu_blocks", "kv_cache_size_tokens", "kv_cache_max_concurrency"})
"""What an engine finds out when it starts. It differs a little from start to start, so it explains no restart by itself."""
_NOISE = 0.05
"""Part of a measured value by which it differs without being worth a word."""
_QUOTED = 80
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TIME_EXPECTED = "expected an RFC 3339 time with its offset, as in 2026-11-24T03:12:07Z"


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("expected printable text without space around it")
    return text


def _time(text: object) -> datetime:
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise ValueError(_TIME_EXPECTED)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(_TIME_EXPECTED) from None


_Name = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_printable)]
_Key = Annotated[str, Field(max_length=64), AfterValidator(_printable)]
_Value = Annotated[str, Field(max_length=LONGEST_DETAIL), AfterValidator(_printable)]


class _Posted(BaseModel):
    """The body of a POST."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ChangeKind
    source: Annotated[str, Field(max_length=LONGEST_SOURCE), AfterValidator(_printable)]
    at: Annotated[datetime, BeforeValidator(_time)] | None = None
    replica: _Name | None = None
    model: _Name | None = None
    detail: Annotated[dict[_Key, _Value], Field(max_length=MOST_DETAILS)] = {}


def read_change(body: bytes, now: datetime) -> Change:
    """A change that somebody posted, as JSON; ``at`` is ``now`` where it is not given.

    :raises MalformedBody: naming the field, its value, and what was expected
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedBody("the body is not JSON") from None
    if not isinstance(document, dict):
        raise MalformedBody(f"the body: expected a JSON object, found {type(document).__name__}")
    try:
        posted = _Posted.model_validate(document)
    except ValidationError as error:
        raise MalformedBody("; ".join(_problems(error))) from None
    if posted.source == FOUND:
        raise MalformedBody(f"source: {FOUND!r} is what scrapes find; expected the name of who says so")
    at = posted.at or now
    if not now - OLDEST <= at <= now + LATEST:
        raise MalformedBody(f"at: {at.isoformat()!r} is not within 7 days before now and 1 hour after")
    return Change(
        at=at, kind=posted.kind, source=posted.source, replica=posted.replica, model=posted.model, detail=posted.detail
    )


def _problems(error: ValidationError) -> list[str]:
    known = ", ".join(_Posted.model_fields)
    problems = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])[:_QUOTED]
        expected = f"unknown field; expected {known}" if problem["type"] == "extra_forbidden" else problem["msg"]
        got = "" if problem["type"] == "missing" else f" (got {problem['input']!r:.{_QUOTED}})"
        problems.append(f"{field}: {expected.removeprefix('Value error, ')}{got}")
    return problems


def write_change(change: Change, id: int) -> dict[str, object]:
    """A change as it is answered: what is kept, and its id."""
    return {
        "id": id,
        "at": change.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "kind": change.kind.value,
        "source": change.source,
        "replica": change.replica,
        "model": change.model,
        "detail": change.detail,
    }


def explains(change: Change) -> bool:
    """Whether a change that a scrape found explains a restart: that something restarted does not, and neither does what an
    engine measures anew at each start."""
    return change.kind is not ChangeKind.RESTART and bool(change.detail.keys() - MEASURED)


def config_detail(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """What differs between two configurations that an engine told of itself, as ``old → new`` by name; empty for nothing.

    Names that only one of them has are left out: every version of an engine has others.
    """
    differs = [name for name in old.keys() & new.keys() if old[name] != new[name] and not _is_noise(name, old[name], new[name])]
    # What was configured comes first: it says more than what was measured.
    differs.sort(key=lambda name: (name in MEASURED, name))
    return {name: f"{old[name]} → {new[name]}"[:LONGEST_DETAIL] for name in differs[:MOST_DETAILS]}


def _is_noise(name: str, old: str, new: str) -> bool:
    try:
        return name in MEASURED and abs(float(new) - float(old)) <= _NOISE * abs(float(old))
    except ValueError:
        return False
