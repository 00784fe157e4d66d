from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.change import LATEST, MOST_DETAILS, OLDEST, config_detail, explains, read_change, write_change
from collector.errors import MalformedBody
from collector.event import Change, ChangeKind

NOW = datetime(2026, 11, 24, 3, 12, 7, tzinfo=UTC)


def posted(**fields: Any) -> bytes:
    return json.dumps({"kind": "deploy", "source": "ci"} | fields).encode()


def test_change_needs_a_kind_and_a_source_and_is_of_everything_now() -> None:
    assert Change(at=NOW, kind=ChangeKind.DEPLOY, source="ci") == read_change(posted(), NOW)


def test_change_may_name_everything() -> None:
    body = posted(kind="version", at="2026-11-24T04:10:00.5+01:00", replica="vllm-0", model="llama", detail={"to": "0.32.0"})
    expected = Change(
        at=datetime(2026, 11, 24, 3, 10, 0, 500_000, tzinfo=UTC),
        kind=ChangeKind.VERSION,
        source="ci",
        replica="vllm-0",
        model="llama",
        detail={"to": "0.32.0"},
    )
    assert expected == read_change(body, NOW)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[" * 10_000, "the body is not JSON"),
        (b"[]", "the body: expected a JSON object, found list"),
        (b"{}", "kind: Field required; source: Field required"),
        (posted(kind="boom"), "kind: Input should be 'deploy', 'restart', 'config' or 'version' (got 'boom')"),
        (posted(source="found"), "source: 'found' is what scrapes find; expected the name of who says so"),
        (posted(source=" "), "source: expected printable text without space around it (got ' ')"),
        (posted(modle="x"), "modle: unknown field; expected kind, source, at, replica, model, detail (got 'x')"),
        (posted(at=5), "at: expected an RFC 3339 time with its offset, as in 2026-11-24T03:12:07Z (got 5)"),
        (
            posted(at="2026-11-24 03:00"),
            "at: expected an RFC 3339 time with its offset, as in 2026-11-24T03:12:07Z (got '2026-11-24 03:00')",
        ),
        (posted(at="2026-11-01T00:00:00Z"), "at: '2026-11-01T00:00:00+00:00' is not within 7 days before now and 1 hour after"),
        (posted(at="2026-11-24T05:00:00Z"), "at: '2026-11-24T05:00:00+00:00' is not within 7 days before now and 1 hour after"),
        (posted(replica="x" * 201), f"replica: String should have at most 200 characters (got '{'x' * 79})"),
        (posted(detail={"a": 1}), "detail.a: Input should be a valid string (got 1)"),
        (posted(detail={"a": "x\0"}), "detail.a: expected printable text without space around it (got 'x\\x00')"),
        (posted(detail={str(n): "x" for n in range(MOST_DETAILS + 1)}), "detail: Dictionary should have at most 20 items"),
    ],
)
def test_malformed_change_is_refused_by_field_value_and_expectation(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedBody) as refused:
        read_change(body, NOW)
    assert str(refused.value).startswith(reason)


@given(
    st.binary() | st.dictionaries(st.text(), st.none() | st.text() | st.integers()).map(lambda one: json.dumps(one).encode())
)
def test_whatever_is_posted_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(MalformedBody):
        read_change(body, NOW)


_name = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=50)
_zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    st.datetimes(datetime(2026, 11, 17, 4), datetime(2026, 11, 24, 4)),
    _zones,
    st.sampled_from(ChangeKind),
    _name.filter(lambda name: name != "found"),
    st.none() | _name,
    st.none() | _name,
    st.dictionaries(_name, _name, max_size=5),
)
def test_what_is_answered_is_read_as_the_same_change(
    at: datetime,
    zone: timezone,
    kind: ChangeKind,
    source: str,
    replica: str | None,
    model: str | None,
    detail: dict[str, str],
) -> None:
    change = Change(
        at=at.replace(tzinfo=UTC).astimezone(zone), kind=kind, source=source, replica=replica, model=model, detail=detail
    )
    answered = write_change(change, 7)
    assert 7 == answered.pop("id")
    assert change == read_change(json.dumps(answered).encode(), NOW)


def test_limits_of_time_are_inside() -> None:
    for at in (NOW - OLDEST, NOW + LATEST):
        assert at == read_change(posted(at=at.isoformat()), NOW).at


def test_changed_configuration_is_told_by_its_values() -> None:
    old = {"block_size": "16", "num_gpu_blocks": "8192", "cache_dtype": "auto", "only_before": "1"}
    new = {"block_size": "32", "num_gpu_blocks": "4096", "cache_dtype": "auto", "only_now": "1"}
    assert {"block_size": "16 → 32", "num_gpu_blocks": "8192 → 4096"} == config_detail(old, new)


@pytest.mark.parametrize(("blocks", "detail"), [("8191", {}), ("7783", {}), ("7781", {"num_gpu_blocks": "8192 → 7781"})])
def test_what_an_engine_measures_anew_may_differ_a_little(blocks: str, detail: dict[str, str]) -> None:
    assert detail == config_detail({"num_gpu_blocks": "8192"}, {"num_gpu_blocks": blocks})


@pytest.mark.parametrize(
    ("kind", "detail", "expected"),
    [
        (ChangeKind.CONFIG, {"block_size": "16 → 32", "num_gpu_blocks": "8192 → 4096"}, True),
        (ChangeKind.CONFIG, {"num_gpu_blocks": "8192 → 4096"}, False),
        (ChangeKind.VERSION, {"version": "0.31.0 → 0.32.0"}, True),
        (ChangeKind.DEPLOY, {"revision": "a → b"}, True),
        (ChangeKind.RESTART, {"started_at": "2026-11-24T03:12:07+00:00"}, False),
    ],
)
def test_only_what_somebody_decided_explains_a_restart(kind: ChangeKind, detail: dict[str, str], expected: bool) -> None:
    assert expected is explains(Change(at=NOW, kind=kind, source="found", replica="vllm-0", detail=detail))
