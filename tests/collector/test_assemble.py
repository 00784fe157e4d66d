from __future__ import annotations

from collections.abc import Sequence
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.assemble import Assembled, Group, assemble
from collector.span import Span, SpanKind, StatusCode, Value

SECOND = 1_000_000_000
T0 = 1_795_000_000 * SECOND
HTTP: dict[str, Value] = {"url.path": "/v1/chat/completions", "http.response.status_code": 200}


def span(
    id: str,
    attributes: dict[str, Value],
    *,
    parent: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    at: tuple[float, float] = (0, 1),
    status: StatusCode = StatusCode.UNSET,
    scope: str = "test",
    trace: str = "t",
) -> Span:
    return Span(
        trace_id=trace.encode().ljust(16, b"."),
        span_id=id.encode().ljust(8, b"."),
        parent_span_id=parent.encode().ljust(8, b".") if parent else b"",
        trace_state="",
        kind=kind,
        start_ns=T0 + int(at[0] * SECOND),
        end_ns=T0 + int(at[1] * SECOND),
        status=status,
        attributes=attributes,
        events=(),
        resource={},
        scope=scope,
        scope_version="1",
    )


def server(id: str, **named: Any) -> Span:
    return span(id, HTTP, kind=SpanKind.SERVER, **named)


def refused(id: str, status: int, **named: Any) -> Span:
    return span(id, {**HTTP, "http.response.status_code": status}, kind=SpanKind.SERVER, **named)


def attempt(id: str, call: str = "call-1", model: str = "tiny", *, tokens: bool = True, **named: Any) -> Span:
    failed = named.get("status") is StatusCode.ERROR
    attributes: dict[str, Value] = {
        "litellm.call_type": "acompletion",
        "litellm.call_id": call,
        "gen_ai.request.model": model,
        **({"gen_ai.usage.output_tokens": 0 if failed else 7} if tokens else {}),
    }
    return span(id, attributes, kind=SpanKind.CLIENT, **named)


def chat(id: str, *, tokens: bool = True, kind: SpanKind = SpanKind.CLIENT, **named: Any) -> Span:
    attributes: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "tiny"}
    return span(id, {**attributes, **({"gen_ai.usage.output_tokens": 7} if tokens else {})}, kind=kind, **named)


def engine(id: str, **named: Any) -> Span:
    attributes: dict[str, Value] = {"gen_ai.latency.time_in_queue": 0.1, "gen_ai.request.id": id}
    return span(id, attributes, kind=SpanKind.SERVER, **named)


def names(spans: Sequence[Span]) -> list[str]:
    return sorted(one.span_id.decode().rstrip(".") for one in spans)


def name(of: Span) -> str:
    return of.span_id.decode().rstrip(".")


def only(assembled: Assembled) -> Group:
    (group,) = assembled.groups
    return group


def test_attempts_inside_an_http_request_are_that_request_and_the_one_that_went_well_decides() -> None:
    first = attempt("first", parent="server", at=(0.1, 0.3), status=StatusCode.ERROR)
    second = attempt("second", parent="server", model="hosted", at=(0.4, 0.9))
    found = assemble([second, server("server"), first])
    group = only(found)
    assert ("server", "second", ["first"]) == (name(group.outermost), name(group.span), names(group.earlier))
    assert 2 == found.merged


def test_an_http_request_that_failed_is_decided_by_its_last_attempt() -> None:
    failed = span("server", {**HTTP, "error.type": "500"}, kind=SpanKind.SERVER, status=StatusCode.ERROR)
    good = attempt("good", parent="server", at=(0.1, 0.3))
    last = attempt("last", parent="server", at=(0.4, 0.9), status=StatusCode.ERROR)
    assert "last" == name(only(assemble([good, last, failed])).span)


def test_attempts_without_their_http_request_are_one_by_the_gateways_own_id() -> None:
    first = attempt("first", parent="gone", at=(0.1, 0.3), status=StatusCode.ERROR)
    second = attempt("second", parent="gone", at=(0.4, 0.9))
    other = attempt("other", call="call-2", parent="gone", at=(0.4, 0.9))
    assert {("second", ("first",)), ("other", ())} == {
        (name(group.span), tuple(names(group.earlier))) for group in assemble([first, other, second]).groups
    }


def test_an_attempt_beside_its_http_request_under_the_callers_span_belongs_to_it() -> None:
    group = only(assemble([server("server", parent="caller"), attempt("a", parent="caller", at=(0.2, 0.8))]))
    assert ("server", "a") == (name(group.outermost), name(group.span))


def test_concurrent_http_requests_of_one_trace_keep_their_own_attempts() -> None:
    spans = [
        server("one", parent="agent", at=(0, 1)),
        server("two", parent="agent", at=(0.1, 1.1)),
        attempt("a", "call-1", parent="one", at=(0.2, 0.9)),
        attempt("b", "call-2", parent="two", at=(0.2, 0.9)),
    ]
    assert {("one", "a"), ("two", "b")} == {(name(one.outermost), name(one.span)) for one in assemble(spans).groups}


@pytest.mark.parametrize("inside", [chat("call", parent="server"), chat("call", parent="between")])
def test_an_http_request_around_a_call_of_a_client_library_is_no_request_of_its_own(inside: Span) -> None:
    between = span("between", {}, parent="server")
    found = assemble([server("server"), between, inside])
    assert "call" == name(only(found).span)
    assert (1, 1) == (found.merged, found.ignored)


def test_an_http_request_of_which_nobody_says_more_is_a_request() -> None:
    found = assemble([server("server"), engine("engine", parent="server")])
    assert ["engine", "server"] == sorted(name(group.span) for group in found.groups)


def test_each_party_of_one_call_gives_one_request() -> None:
    spans = [
        chat("client"),
        server("gateway", parent="client"),
        attempt("attempt", parent="gateway", at=(0.1, 0.9)),
        engine("engine", parent="attempt", at=(0.2, 0.8)),
    ]
    assert ["attempt", "client", "engine"] == sorted(name(group.span) for group in assemble(spans).groups)


def test_a_wrapper_of_the_same_party_gives_no_row_whoever_wrote_it() -> None:
    outer, inner = chat("outer"), chat("inner", parent="outer", scope="another")
    assert "inner" == name(only(assemble([outer, inner])).span)


def test_a_span_inside_a_call_that_says_nothing_does_not_replace_it() -> None:
    outer, inner = chat("outer"), chat("inner", parent="outer", tokens=False)
    assert ["inner", "outer"] == sorted(name(group.span) for group in assemble([outer, inner]).groups)


def test_of_two_gateways_on_the_way_the_outermost_is_the_request() -> None:
    outer = chat("outer", kind=SpanKind.SERVER)
    inner = span("inner", {"module": "smg", "status_code": 200, "uri": "/v1/chat/completions"}, parent="outer")
    group = only(assemble([inner, outer]))
    assert ("outer", ["inner"]) == (name(group.span), [name(one.span) for one in group.inner])


def test_a_proxys_http_request_gives_way_to_what_the_gateway_behind_it_says() -> None:
    spans = [server("proxy"), server("gateway", parent="proxy"), attempt("attempt", parent="gateway", at=(0.1, 0.9))]
    found = assemble(spans)
    assert "gateway" == name(only(found).outermost)
    assert 2 == found.merged


def test_attempt_inside_one_that_failed_decides_without_its_http_request_too() -> None:
    spans = [attempt("outer", parent="gone", status=StatusCode.ERROR), attempt("inner", parent="outer", at=(0.1, 0.9))]
    group = only(assemble(spans))
    assert ("inner", ["outer"]) == (name(group.span), names(group.earlier))
    assert ["inner", "outer"] == names(assemble(spans, closing=False).waiting)


@pytest.mark.parametrize(
    ("spans", "complete"),
    [
        ([attempt("good", parent="server"), server("server")], True),
        ([attempt("failed", parent="server", status=StatusCode.ERROR), server("server")], False),
        ([attempt("failed", parent="server", status=StatusCode.ERROR), refused("server", 500)], True),
        ([attempt("silent", parent="server", tokens=False), server("server")], False),
    ],
    ids=["that went well", "before a better one", "of one that failed", "whose tokens are elsewhere"],
)
def test_http_request_is_complete_with_an_attempt(spans: list[Span], complete: bool) -> None:
    assert complete is bool(assemble(spans, closing=False).groups)


def test_what_may_still_change_waits_unless_this_is_the_end() -> None:
    alone = attempt("a", parent="server", at=(0.2, 0.8))
    assert ((), (alone,)) == (assemble([alone], closing=False).groups, assemble([alone], closing=False).waiting)
    assert ((), ("server",)) == (
        assemble([server("server")], closing=False).groups,
        tuple(names(assemble([server("server")], closing=False).waiting)),
    )
    assert "a" == name(only(assemble([alone])).span)
    assert "server" == name(only(assemble([alone, server("server")], closing=False)).outermost)


def test_a_call_by_itself_does_not_wait() -> None:
    for one in (chat("client", parent="app"), chat("gateway", parent="app", kind=SpanKind.SERVER), engine("e", parent="g")):
        assert one is only(assemble([one], closing=False)).span


def test_work_for_a_body_of_one_trace_does_not_grow_with_its_square() -> None:
    spans = [one for number in range(4000) for one in (server(f"s{number}"), attempt(f"a{number}", parent="gone"))]
    before = process_time()
    found = assemble(spans, closing=False)
    # As one trace it would take twenty.
    assert process_time() - before < 10
    assert len(spans) == len(found.groups) + found.merged + found.ignored + len(found.waiting)


def test_parents_in_a_circle_end() -> None:
    found = assemble([chat("a", parent="b"), chat("b", parent="a")])
    assert 2 == found.merged + len(found.groups)


@st.composite
def traces(draw: st.DrawFn) -> list[Span]:
    """Any forest of spans of every kind."""
    made: list[Span] = []
    for number in range(draw(st.integers(1, 9))):
        parent = draw(st.sampled_from(["", "gone", *(name(one) for one in made)]))
        start = draw(st.integers(0, 20)) / 10
        kind = draw(st.sampled_from(["server", "attempt", "chat", "silent", "engine", "other", "gateway"]))
        at, id, trace = (start, start + draw(st.integers(1, 20)) / 10), f"{kind}{number}", draw(st.sampled_from("tu"))
        status = draw(st.sampled_from(StatusCode))
        match kind:
            case "server":
                made.append(server(id, parent=parent, at=at, trace=trace))
            case "attempt":
                call = draw(st.sampled_from(["call-1", "call-2"]))
                made.append(attempt(id, call, parent=parent, at=at, trace=trace, status=status))
            case "engine":
                made.append(engine(id, parent=parent, at=at, trace=trace))
            case "other":
                made.append(span(id, {}, parent=parent, at=at, trace=trace))
            case _:
                one = SpanKind.SERVER if kind == "gateway" else SpanKind.CLIENT
                made.append(chat(id, tokens=kind != "silent", kind=one, parent=parent, at=at, trace=trace, status=status))
    return made


@given(spans=traces(), closing=st.booleans(), data=st.data())
def test_every_span_counts_once_and_the_order_says_nothing(spans: list[Span], closing: bool, data: st.DataObject) -> None:
    found = assemble(spans, closing=closing)
    assert len(spans) == len(found.groups) + found.merged + found.ignored + len(found.waiting)
    assert found.merged >= 0
    used = [one.span_id for group in found.groups for part in (group, *group.inner) for one in part.members]
    assert len(used) == len(set(used))
    shuffled = assemble(data.draw(st.permutations(spans)), closing=closing)
    assert sorted(found.groups, key=repr) == sorted(shuffled.groups, key=repr)
    assert (not closing) or () == found.waiting
