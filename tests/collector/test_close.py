from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from collector.close import LONGEST, QUIET
from collector.errors import Overloaded
from collector.hash_key import HashKey
from collector.span import Span, SpanKind, StatusCode
from collector.store.fragment import LARGEST_TRACE, Taking, take
from collector.store.request import RequestStore
from collector.store.row import row_of
from tests.collector.closing import POLICY, Clock, Site, counted, kept, ledger, running, wait, waiting
from tests.collector.example import now, rows
from tests.collector.test_assemble import HTTP, attempt, chat, engine, server, span

SETTLED = timedelta(seconds=2)
"""Long enough for what is whole to be closed, and too short for anything else."""


@pytest.fixture
def clock() -> Clock:
    return Clock(now())


@pytest.fixture
async def look(database: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def site(database: str, clock: Clock, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(database, clock, tmp_path) as one:
        yield one


@pytest.fixture
async def other(database: str, clock: Clock, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(database, clock, tmp_path) as one:
        yield one


INSIDE = attempt("call", parent="server", at=(0.1, 0.9))


async def test_body_that_is_whole_waits_for_nothing(site: Site, look: AsyncConnection[Any]) -> None:
    before = ledger()
    await site.send(server("server"), INSIDE, engine("engine", parent="call"), chat("app", trace="u"))
    assert (["app", "server"], []) == (await kept(look), await waiting(look))
    assert {"rows": 3, "merged": 1} == counted(before)


@pytest.mark.parametrize("first", ["call", "server"])
async def test_parts_in_different_bodies_are_one_row_soon_after_the_last(
    site: Site, clock: Clock, look: AsyncConnection[Any], first: str
) -> None:
    call = INSIDE._replace(attributes={**INSIDE.attributes, "gen_ai.response.finish_reasons": "stop"})
    before, parts = ledger(), [call, server("server")]
    for part in parts if first == "call" else reversed(parts):
        await site.send(part)
    assert ([], ["call", "server"], {}) == (await kept(look), await waiting(look), counted(before))
    await wait(clock, look, SETTLED)
    await site.close()
    assert (["server"], []) == (await kept(look), await waiting(look))
    assert {"rows": 1, "merged": 1} == counted(before)
    assert [(7,)] == await rows(look, "requests", "output_tokens")
    assert [(1, 0)] == await rows(look, "pulses", "good, bad")
    assert [(1,)] == await rows(look, "rollup_marks", "count(*)")


async def test_parts_in_different_collectors_are_one_row(
    site: Site, other: Site, clock: Clock, look: AsyncConnection[Any]
) -> None:
    before = ledger()
    await site.send(INSIDE)
    await other.send(server("server"))
    await wait(clock, look, SETTLED)
    await site.close()
    await other.close()
    assert (["server"], []) == (await kept(look), await waiting(look))
    assert {"rows": 1, "merged": 1} == counted(before)


async def test_whole_body_joins_the_attempt_that_came_before_it(
    site: Site, other: Site, clock: Clock, look: AsyncConnection[Any]
) -> None:
    await other.send(attempt("failed", parent="server", at=(0.1, 0.3), status=StatusCode.ERROR))
    await site.send(attempt("good", parent="server", model="hosted", at=(0.4, 0.9)), server("server"))
    assert ([], ["failed", "good", "server"]) == (await kept(look), await waiting(look))
    await wait(clock, look, SETTLED)
    await site.close()
    assert [(True,)] == await rows(look, "requests", "billing_flags & 1 = 1")


async def test_what_never_gets_its_root_is_closed_when_it_has_been_quiet(
    site: Site, clock: Clock, look: AsyncConnection[Any]
) -> None:
    before = ledger()
    await site.send(attempt("call", parent="server"))
    await site.send(server("alone", trace="u"))
    await site.send(span("stray", {}, trace="v"))
    await wait(clock, look, QUIET - timedelta(seconds=1))
    await site.close()
    assert ([], ["alone", "call"]) == (await kept(look), await waiting(look))
    await wait(clock, look, timedelta(seconds=1))
    await site.close()
    assert (["alone", "call"], []) == (await kept(look), await waiting(look))
    assert {"rows": 2, "ignored": 1} == counted(before)


async def test_failed_attempt_waits_for_what_follows_it(site: Site, clock: Clock, look: AsyncConnection[Any]) -> None:
    await site.send(attempt("failed", parent="server", at=(0, 1), status=StatusCode.ERROR))
    await site.send(attempt("lonely", parent="gone", at=(0, 1), status=StatusCode.ERROR, trace="u"))
    await wait(clock, look, timedelta(seconds=20))
    await site.close()
    assert [] == await kept(look)
    await site.send(attempt("good", parent="server", model="hosted", at=(1, 21)), server("server", at=(0, 21)))
    await wait(clock, look, SETTLED)
    await site.close()
    assert ["server"] == await kept(look)
    await wait(clock, look, QUIET + timedelta(seconds=5))
    await site.close()
    assert (["lonely", "server"], []) == (await kept(look), await waiting(look))


async def test_trace_that_never_gets_quiet_is_closed_by_its_age(site: Site, clock: Clock, look: AsyncConnection[Any]) -> None:
    for number in range(8):
        await site.send(attempt(f"call{number}", f"id-{number}", parent="agent", at=(number, number + 0.5)))
        await wait(clock, look, QUIET - timedelta(seconds=1))
        await site.close()
    assert LONGEST < 8 * (QUIET - timedelta(seconds=1))
    assert ([f"call{number}" for number in range(8)], []) == (await kept(look), await waiting(look))


async def test_body_that_comes_again_while_it_waits_and_afterwards_changes_nothing(
    site: Site, clock: Clock, look: AsyncConnection[Any]
) -> None:
    before = ledger()
    await site.send(INSIDE)
    await site.send(INSIDE)
    assert ({"duplicate": 1}, ["call"]) == (counted(before), await waiting(look))
    await wait(clock, look)
    await site.close()
    await site.send(INSIDE)
    await wait(clock, look)
    await site.close()
    assert ["call"] == await kept(look)
    assert {"duplicate": 1, "merged": 1, "rows": 1} == counted(before)


@pytest.mark.parametrize(
    ("first", "straggler"),
    [
        ([INSIDE, server("server")], attempt("late", parent="server", at=(0.05, 0.2), status=StatusCode.ERROR)),
        ([INSIDE], server("server")),
        ([chat("client", parent="between", at=(0.1, 0.9))], server("server")),
        ([INSIDE, server("server")], server("inner", parent="server", at=(0.05, 0.95))),
    ],
    ids=["attempt", "envelope of a gateway's call", "envelope of a client's call", "envelope inside another"],
)
async def test_straggler_gives_no_second_row(
    site: Site, clock: Clock, look: AsyncConnection[Any], first: list[Span], straggler: Span
) -> None:
    before = ledger()
    await site.send(*first)
    await wait(clock, look)
    await site.close()
    there = await kept(look)
    await site.send(straggler)
    await wait(clock, look, LONGEST + QUIET)
    await site.close()
    assert (1, there, []) == (len(there), await kept(look), await waiting(look))
    assert {"rows": 1, "merged": len(first)} == counted(before)


@pytest.mark.parametrize(
    "another",
    [
        attempt("another", "call-2", parent="elsewhere", at=(0.2, 0.8)),
        attempt("another", parent="elsewhere", at=(3, 4)),
        server("another", at=(0.5, 4)),
    ],
    ids=["of another id", "at another time", "that began later"],
)
async def test_another_call_of_the_trace_has_a_row_of_its_own(
    site: Site, clock: Clock, look: AsyncConnection[Any], another: Span
) -> None:
    await site.send(attempt("call", parent="gone", at=(0.1, 0.9)))
    await wait(clock, look)
    await site.close()
    await site.send(another)
    await wait(clock, look)
    await site.close()
    assert ["another", "call"] == await kept(look)


async def test_tenants_of_tokens_never_meet_in_a_trace(site: Site, clock: Clock, look: AsyncConnection[Any]) -> None:
    await site.send(INSIDE, tenant="acme")
    await site.send(INSIDE, server("server"), tenant="mallory")
    await wait(clock, look)
    await site.close()
    found = await look.execute("SELECT name, span_id FROM requests JOIN tenants ON id = tenant_id ORDER BY 1")
    assert [("acme", INSIDE.span_id), ("mallory", server("server").span_id)] == await found.fetchall()


async def test_closer_that_fails_half_way_leaves_everything_for_the_next(
    site: Site, other: Site, clock: Clock, look: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    before = ledger()
    await site.send(INSIDE)
    await site.send(server("server"))
    await wait(clock, look)
    with monkeypatch.context() as patched:
        patched.setattr(RequestStore, "_pulse", dies)
        with pytest.raises(asyncio.CancelledError):
            await site.close()
    assert ([], ["call", "server"], {}) == (await kept(look), await waiting(look), counted(before))
    await other.close()
    assert (["server"], {"rows": 1, "merged": 1}) == (await kept(look), counted(before))


async def test_two_closers_at_once_close_each_trace_once(
    site: Site, other: Site, clock: Clock, look: AsyncConnection[Any]
) -> None:
    before, traces = ledger(), [f"t{number}" for number in range(700)]
    await site.send(*(attempt(f"c{trace}", parent="server", trace=trace) for trace in traces))
    await other.send(*(server(f"s{trace}", trace=trace, at=(-1, 2)) for trace in traces))
    await wait(clock, look)
    await asyncio.gather(site.close(), other.close())
    await site.close()
    assert (sorted(f"s{trace}" for trace in traces), []) == (await kept(look), await waiting(look))
    assert {"rows": 700, "merged": 700} == counted(before)


async def test_trace_that_another_collector_is_closing_is_left_to_it(
    site: Site, other: Site, clock: Clock, look: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, allowed, real = asyncio.Event(), asyncio.Event(), take

    async def slow(connection: AsyncConnection[Any], takings: list[Taking]) -> Any:
        taken = await real(connection, takings)
        begun.set()
        await allowed.wait()
        return taken

    await site.send(INSIDE)
    await wait(clock, look)
    monkeypatch.setattr("collector.store.request.take", slow)
    first = asyncio.create_task(site.close())
    await begun.wait()
    monkeypatch.setattr("collector.store.request.take", real)
    before = ledger()
    await other.close()
    assert ({}, ["call"]) == (counted(before), await waiting(look))
    allowed.set()
    await first
    assert ({"rows": 1}, []) == (counted(before), await waiting(look))


async def test_what_came_while_a_trace_was_read_is_not_lost(
    site: Site, clock: Clock, look: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = take

    async def late(connection: AsyncConnection[Any], takings: list[Taking]) -> Any:
        monkeypatch.setattr("collector.store.request.take", real)
        await site.send(server("server"))
        return await real(connection, takings)

    before = ledger()
    await site.send(INSIDE)
    await wait(clock, look)
    monkeypatch.setattr("collector.store.request.take", late)
    await site.close()
    await wait(clock, look)
    await site.close()
    assert (["call"], [], {"rows": 1, "merged": 1}) == (await kept(look), await waiting(look), counted(before))


async def test_flood_is_refused_at_the_limit_and_large_traces_are_closed_in_pieces(
    database: str, clock: Clock, look: AsyncConnection[Any], tmp_path: Path
) -> None:
    before, size = ledger(), LARGEST_TRACE + 44
    async with running(database, clock, tmp_path, largest_waiting=2 * size) as site:
        for trace in "ab":
            await site.send(*(attempt(f"{trace}{number}", f"id-{number}", parent="x", trace=trace) for number in range(size)))
        with pytest.raises(Overloaded, match="600 spans wait for the rest"):
            await site.send(attempt("more", parent="x", trace="c"))
        await site.send(chat("app", trace="d"))
        await wait(clock, look, SETTLED)
        await site.close()
        # A piece of each is closed at once, and the rest when it was quiet.
        assert 88 == len(await waiting(look))
        await site.send(attempt("more", parent="x", trace="c"))
        await wait(clock, look)
        await site.close()
    assert (602, []) == (len(await kept(look)), await waiting(look))
    assert {"rows": 602} == counted(before)


async def test_spans_that_wait_go_to_the_spool_while_postgres_is_away_and_are_joined_afterwards(
    database: str, clock: Clock, look: AsyncConnection[Any], tmp_path: Path
) -> None:
    before = ledger()
    async with AsyncExitStack() as stack:
        away = await stack.enter_async_context(running("host=/nowhere dbname=x", clock, tmp_path))
        await away.send(INSIDE, chat("app", trace="u"))
        assert {"pending": 1} == counted(before)
    async with running(database, clock, tmp_path) as site:
        async with asyncio.timeout(10):
            while await waiting(look) != ["call"]:  # noqa: ASYNC110 - another connection's commit sets no event
                await asyncio.sleep(0.01)
        await site.send(server("server"))
        await wait(clock, look, SETTLED)
        await site.close()
    assert (["app", "server"], []) == (await kept(look), await waiting(look))


async def test_person_s_id_is_hashed_the_same_whether_its_span_waits_or_not(
    database: str, clock: Clock, look: AsyncConnection[Any], tmp_path: Path
) -> None:
    key = HashKey(3, b"0123456789abcdef")
    policy = replace(POLICY, hash_key=key)
    call = attempt("call", parent="server", at=(0.1, 0.9))
    call = call._replace(attributes={**call.attributes, "litellm.metadata.user_api_key_end_user_id": "alice"})
    async with running(database, clock, tmp_path, policy=policy) as site:
        await site.send(call)
        assert [(False,)] == await rows(look, "fragments", "position('alice'::bytea IN span) > 0")
        await site.send(server("server"))
        await site.send(call._replace(trace_id=b"u" * 16), server("server", trace="u" * 16))
        await wait(clock, look)
        await site.close()
    assert [(key.hash("alice"), 3)] * 2 == await rows(look, "requests", "end_user_hash, hash_key_id")


async def test_damaged_fragment_is_rejected_and_one_of_a_later_version_is_left(
    site: Site, clock: Clock, look: AsyncConnection[Any]
) -> None:
    before = ledger()
    await site.send(
        attempt("damaged", parent="x", trace="t"),
        attempt("later", parent="x", trace="u"),
        INSIDE._replace(trace_id=b"v" * 16),
    )
    await look.execute("UPDATE fragments SET span = '\\x01ff' WHERE trace_id = %s", (span("", {}).trace_id,))
    await look.execute("UPDATE fragments SET span = '\\x02ff' WHERE span_id = %s", (span("later", {}).span_id,))
    await wait(clock, look)
    await site.close()
    assert (["call"], ["later"]) == (await kept(look), await waiting(look))
    assert {"rows": 1, "rejected": 1} == counted(before)


async def test_request_that_cannot_be_stored_keeps_nobody_waiting(
    site: Site, clock: Clock, look: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = row_of

    def poisoned(request: Any, *rest: Any) -> Any:
        if request.span_id.startswith(b"poison"):
            raise psycopg.DataError("no such value")
        return real(request, *rest)

    before = ledger()
    await site.send(attempt("poison", parent="x", trace="t"), attempt("good", parent="x", trace="u"))
    await wait(clock, look)
    monkeypatch.setattr("collector.store.request.row_of", poisoned)
    await site.close()
    assert (["good"], []) == (await kept(look), await waiting(look))
    assert {"rows": 1, "rejected": 1} == counted(before)


async def test_envelope_with_another_s_failure_is_a_row_of_its_own(
    site: Site, clock: Clock, look: AsyncConnection[Any]
) -> None:
    refused = span("refused", {**HTTP, "http.response.status_code": 429}, kind=SpanKind.SERVER)
    await site.send(refused)
    await wait(clock, look)
    await site.close()
    assert [(429,)] == await rows(look, "requests", "http_status")
