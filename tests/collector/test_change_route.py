"""POST /api/v1/changes, into a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from psycopg import AsyncConnection

from collector.change_route import PATH, changes
from collector.event import ChangeKind
from collector.schema.access import Role
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from collector.token import Gate, Right, Token, digest
from tests.collector.example import now, rows
from tests.collector.test_daemon import configuration, running
from tests.migrations.login import login

SECRET = "slo_" + "a" * 43
CHANGE = {"kind": "deploy", "source": "ci", "at": now().isoformat(), "model": "llama", "detail": {"revision": "abc"}}

Client = TestClient[web.Request, web.Application]


def gate(*, required: bool | None = False, tenant: str | None = None, right: Right = Right.INGEST) -> Gate:
    one = Gate(required=required, now=now)
    one.learn([Token(1, digest(SECRET), tenant, frozenset({right}), datetime(2026, 1, 1, tzinfo=UTC), None, None, "")])
    return one


@asynccontextmanager
async def client(database: Database, gate: Gate, clock: Callable[[], datetime] = now) -> AsyncIterator[Client]:
    app = web.Application(client_max_size=0)
    app.add_routes([changes(FleetStore(database, Dictionary(database)), gate, clock)])
    async with TestClient(TestServer(app)) as one:
        yield one


async def test_change_is_kept_and_answered(connected: Database, look: AsyncConnection[Any]) -> None:
    async with client(connected, gate()) as one, one.post(PATH, json=CHANGE) as response:
        answer = await response.json()
        assert 201 == response.status
    ((id, at, kind, source, replica, model, detail),) = await rows(
        look, "changes", "id, at, kind, source, replica_id, (SELECT name FROM models WHERE id = model_id), detail"
    )
    assert (CHANGE["at"], "deploy", "ci", 0, "llama", {"revision": "abc"}) == (
        at.isoformat(),
        kind,
        source,
        replica,
        model,
        detail,
    )
    assert CHANGE | {"id": id, "replica": None, "at": at.isoformat().replace("+00:00", "Z")} == answer


async def test_change_that_is_sent_again_is_the_same_row(connected: Database, look: AsyncConnection[Any]) -> None:
    async with client(connected, gate()) as one:

        async def post(**fields: Any) -> tuple[int, int]:
            async with one.post(PATH, json=CHANGE | fields) as response:
                return response.status, (await response.json())["id"]

        answers = await asyncio.gather(*(post() for _ in range(8)))
        assert ([200] * 7 + [201], 1) == (sorted(status for status, _ in answers), len({id for _, id in answers}))
        others = [await post(replica="vllm-0"), await post(detail={}), await post(source="cd"), await post(kind="config")]
    assert [201] * 4 == [status for status, _ in others]
    assert [(5,)] == await rows(look, "changes", "count(*)")


async def test_change_without_a_time_is_one_of_now(connected: Database, look: AsyncConnection[Any]) -> None:
    at = now()
    async with (
        client(connected, gate(), lambda: at) as one,
        one.post(PATH, json={"kind": "restart", "source": "ops"}) as response,
    ):
        assert (201, at.isoformat().replace("+00:00", "Z")) == (response.status, (await response.json())["at"])
    assert [(at,)] == await rows(look, "changes", "at")


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b'{"kind": "boom", "source": "ci"}', {}, "kind: Input should be 'deploy', 'restart', 'config' or 'version'"),
        (b"x" * 20_000, {}, "the body: expected at most 16384 bytes"),
        (b"{}", {"Content-Encoding": "gzip"}, "Content-Encoding: expected none, got 'gzip'"),
    ],
)
async def test_malformed_change_is_refused(connected: Database, body: bytes, headers: dict[str, str], error: str) -> None:
    async with client(connected, gate()) as one, one.post(PATH, data=body, headers=headers) as response:
        assert 400 == response.status
        assert (await response.json())["error"].startswith(error)


@pytest.mark.parametrize(
    ("gate", "headers", "status"),
    [
        (gate(required=True), {}, 401),
        (gate(required=True), {"Authorization": "Bearer slo_wrong"}, 401),
        (gate(required=True), {"Authorization": f"Bearer {SECRET}"}, 201),
        (gate(required=True, right=Right.ADMIN), {"Authorization": f"Bearer {SECRET}"}, 201),
        (gate(required=True, right=Right.READ), {"Authorization": f"Bearer {SECRET}"}, 403),
        (gate(required=True, tenant="acme"), {"Authorization": f"Bearer {SECRET}"}, 403),
        (gate(tenant="acme"), {"Authorization": f"Bearer {SECRET}"}, 403),
        (gate(), {}, 201),
    ],
)
async def test_who_may_tell_of_changes(connected: Database, gate: Gate, headers: dict[str, str], status: int) -> None:
    async with client(connected, gate) as one, one.post(PATH, json=CHANGE, headers=headers) as response:
        assert status == response.status
        assert (status == 401) == ("WWW-Authenticate" in response.headers)


async def test_without_postgres_the_sender_is_asked_to_come_again() -> None:
    async with (
        Database("host=127.0.0.1 port=1 dbname=nowhere", application="test", timeout_seconds=0.2) as away,
        client(away, gate()) as one,
        one.post(PATH, json=CHANGE) as response,
    ):
        assert (503, "2") == (response.status, response.headers["Retry-After"])


async def test_collector_takes_changes_beside_spans_with_no_more_rights_than_it_has(database: str) -> None:
    config = configuration()
    async with running(config, login(database, Role.COLLECTOR)), aiohttp.ClientSession() as session:
        for status in (201, 200):
            async with session.post(f"http://{config.listen.otlp_http}{PATH}", json=CHANGE) as response:
                assert status == response.status
    async with await psycopg.AsyncConnection.connect(database) as connection:
        assert [(ChangeKind.DEPLOY, "ci")] == await rows(connection, "changes", "kind, source")
