from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.link import Key, Link, Pair, Row, is_twin, keys_of, pair
from collector.request import ObservedBy, TrafficClass
from tests.collector.example import request

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TRACE = b"t" * 16
TWIN = b"twin" + bytes(16)


def row(name: str, start: float, end: float, trace: bytes = TRACE) -> Row:
    return Row(NOW + timedelta(seconds=end), name.encode(), trace, 1, NOW + timedelta(seconds=start))


def asks(of: Row, key: bytes = TRACE) -> Link:
    return Link(key, False, of)


def tells(of: Row, key: bytes = TRACE) -> Link:
    return Link(key, True, of)


def engine(**fields: Any) -> list[Key]:
    return list(keys_of(request(1, NOW, observed_by=ObservedBy.ENGINE, **fields)))


def gateway(**fields: Any) -> list[Key]:
    return list(keys_of(request(1, NOW, **fields)))


def test_a_response_has_the_id_that_the_engine_gave_the_request() -> None:
    for engines, response in (
        ("chatcmpl-1", "chatcmpl-1"),
        ("cmpl-abc-0", "cmpl-abc"),
        ("cmpl-abc-12", "cmpl-abc"),
    ):
        told = engine(request_id=engines, dialect="vllm_plugin")
        assert {key for key, _ in gateway(response_id=response)} & {key for key, _ in told}


@pytest.mark.parametrize(
    "fields", [{"traffic_class": TrafficClass.SYNTHETIC}, {"gateway_cache_hit": True}], ids=["synthetic", "cached"]
)
def test_what_no_engine_served_or_nobody_pays_for_asks_nothing(fields: dict[str, Any]) -> None:
    assert [] == gateway(response_id="x", **fields)


def test_an_engines_row_tells_the_gateways_row_around_it() -> None:
    around, inside = row("gateway", 0, 2), row("engine", 0.1, 1.9)
    assert [Pair(around, inside)] == pair([tells(inside), asks(around)])


def test_client_and_gateway_around_one_call_are_both_told() -> None:
    client, gateway, inside = row("client", 0, 3), row("gateway", 0.5, 2.5), row("engine", 1, 2)
    assert [Pair(gateway, inside), Pair(client, inside)] == pair([asks(client), asks(gateway), tells(inside)])


def test_of_calls_one_after_the_other_in_a_trace_each_gets_its_own() -> None:
    first, second = row("first", 0, 1), row("second", 2, 3)
    inside = row("a", 0.1, 0.9), row("b", 2.1, 2.9)
    found = pair([asks(first), asks(second), *map(tells, inside)])
    assert [Pair(first, inside[0]), Pair(second, inside[1])] == found


def test_of_calls_beside_each_other_each_is_told_once() -> None:
    beside = row("a", 0, 2), row("b", 0.15, 2.5)
    inside = row("x", 0.2, 1.9), row("y", 0.3, 1.95)
    found = pair([*map(asks, beside), *map(tells, inside)])
    assert {(one.asks, one.tells) for one in found} == set(zip(beside, inside, strict=True))


def test_an_id_needs_no_clock() -> None:
    away = row("engine", 50, 51, trace=b"own trace")
    assert [Pair(row("gateway", 0, 1), away)] == pair([asks(row("gateway", 0, 1), b"id"), tells(away, b"id")])


def test_a_row_whose_call_was_not_seen_waits() -> None:
    assert [] == pair([tells(row("engine", 0, 1)), asks(row("gateway", 5, 6)), asks(row("other", 0, 1), b"other")])


def test_a_trace_of_very_many_calls_takes_no_time() -> None:
    callers = [row(f"call {number}", number, number + 0.9) for number in range(3000)]
    inside = [row(f"engine {number}", number + 0.1, number + 0.8) for number in range(3000)]
    start = perf_counter()
    found = pair([*map(asks, callers), *map(tells, inside)])
    assert perf_counter() - start < 1.0  # 0.03 s; 3 s where each row is held against each call
    assert [Pair(*one) for one in zip(callers, inside, strict=True)] == found


@st.composite
def links(draw: st.DrawFn) -> list[Link]:
    made = []
    for number in range(draw(st.integers(0, 12))):
        start = draw(st.integers(0, 5))
        one = row(f"row{number}", start, start + draw(st.integers(0, 5)))
        key = draw(st.sampled_from([TRACE, b"id-1", b"id-2", TWIN]))
        made.append(Link(key, draw(st.booleans()), one))
    return made


@given(links(), st.data())
def test_pairs_do_not_depend_on_the_order_and_are_there_once(found: list[Link], data: st.DataObject) -> None:
    pairs = pair(found)
    assert len(pairs) == len(set(pairs))
    assert pairs == pair(data.draw(st.permutations(found)))
    for side in ("asks", "tells"):
        twins = [getattr(one, side) for one in pairs if one.twins]
        assert len(twins) == len(set(twins))


def twins(dialect: str, **fields: Any) -> dict[bytes, bool]:
    said = {"request_id": "chatcmpl-1", "latency_seconds": 0.1 + 0.2, "dialect": dialect} | fields
    return {key: tells for key, tells in engine(**said) if is_twin(key)}


def test_a_record_tells_the_span_of_the_same_sequence_and_of_no_other() -> None:
    (told,) = twins("vllm_plugin_beside")
    assert {told: True} == twins("vllm_plugin_beside")
    assert {told: False} == twins("vllm")
    others: list[dict[str, Any]] = [{"request_id": "chatcmpl-2"}, {"latency_seconds": 0.3}, {"output_tokens": 9}]
    assert [] == [other for other in others if told in twins("vllm", **other)]


def test_a_record_of_a_vllm_without_spans_looks_for_no_twin() -> None:
    assert {} == twins("vllm_plugin")
    assert {} == twins("vllm_plugin_beside", request_id=None)


def test_a_record_becomes_part_of_its_twin_which_tells_the_caller() -> None:
    caller, span, record = row("gateway", 0, 2), row("span", 0.1, 1.9), row("record", 0.1, 1.9, trace=b"own trace")
    links = [asks(caller), asks(caller, b"id"), tells(span), asks(span, TWIN), tells(record, TWIN), tells(record, b"id")]
    assert [Pair(span, record, twins=True), Pair(caller, span)] == pair(links)


def test_each_of_several_sequences_that_ended_together_gets_a_twin() -> None:
    spans, records = [row(f"span {n}", 0, 1) for n in range(3)], [row(f"zz {n}", 0, 1, b"own") for n in range(4)]
    found = pair([*(asks(one, TWIN) for one in spans), *(tells(one, TWIN) for one in records)])
    assert [Pair(span, record, twins=True) for span, record in zip(spans, records, strict=False)] == found


def test_rows_of_two_tenants_are_no_twins() -> None:
    span, record = row("span", 0, 1), row("record", 0, 1, b"own")._replace(tenant_id=2)
    assert [] == pair([asks(span, TWIN), tells(record, TWIN)])
