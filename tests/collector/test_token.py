"""Tokens: who is let in, as whom, and how they are made and revoked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import grpc
import psycopg
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client import REGISTRY
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from collector import daemon
from collector.config import DATABASE_URL, Config, Ingest
from collector.errors import Forbidden, StoreUnavailable, Unauthenticated
from collector.otlp.grpc import serve_grpc
from collector.otlp.signal import traces
from collector.schema.access import Role
from collector.store.connection import Database
from collector.store.token import TokenStore
from collector.token import ANONYMOUS, Gate, Principal, Right, Token, digest, mint
from llm_slo import main
from tests.collector.log_body import log_body
from tests.collector.otlp.example import ALLOW, Next
from tests.collector.otlp_body import body, chat_span
from tests.collector.port import free_address
from tests.collector.test_daemon import configuration, running
from tests.migrations.login import login

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SECRET = "slo_" + "a" * 43


def token(secret: str = SECRET, **fields: object) -> Token:
    defaults = Token(1, digest(secret), None, frozenset({Right.INGEST}), NOW, None, None, "")
    return defaults._replace(**fields)  # type: ignore[arg-type]


def gate(*tokens: Token, required: bool | None = True) -> Gate:
    gate = Gate(required=required, now=lambda: NOW)
    gate.learn(tokens)
    return gate


def test_a_new_token_holds_256_random_bits_and_only_its_hash_is_kept() -> None:
    made = {mint() for _ in range(100)}
    assert 100 == len(made)
    assert {(True, 47)} == {(secret.startswith("slo_"), len(secret)) for secret in made}
    assert [32] * 100 == [len(digest(secret)) for secret in made]


@pytest.mark.parametrize("header", [f"Bearer {SECRET}", f"bearer {SECRET}", f"BEARER  {SECRET} "])
def test_a_sender_with_a_token_is_its_tenant(header: str) -> None:
    assert Principal("acme") == gate(token(tenant="acme")).admit(header)
    assert ANONYMOUS == gate(token()).admit(header)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", SECRET, f"Basic {SECRET}", f"Bearer {SECRET}a", "Bearer \udcff"])
@pytest.mark.parametrize("required", [True, False, None])
def test_a_header_that_is_no_token_of_ours_is_refused_even_where_none_is_needed(header: str, required: bool | None) -> None:
    with pytest.raises(Unauthenticated):
        gate(token(), required=required).admit(header)


@given(st.text())
def test_whatever_a_header_holds_it_is_refused_in_order(header: str) -> None:
    with pytest.raises(Unauthenticated):
        gate(token()).admit(header)


@pytest.mark.parametrize(
    ("fields", "admitted"),
    [
        ({"expires_at": NOW + timedelta(seconds=1)}, True),
        ({"expires_at": NOW}, False),
        ({"revoked_at": NOW}, False),
        ({"revoked_at": NOW + timedelta(days=1)}, False),
    ],
)
def test_expired_and_revoked_tokens_are_refused(fields: dict[str, object], admitted: bool) -> None:
    one = gate(token(**fields))
    if admitted:
        assert ANONYMOUS == one.admit(f"Bearer {SECRET}")
    else:
        with pytest.raises(Unauthenticated):
            one.admit(f"Bearer {SECRET}")


@pytest.mark.parametrize("right", Right)
def test_a_token_may_do_what_it_says_and_an_admin_s_everything(right: Right) -> None:
    for has in Right:
        one = gate(token(rights=frozenset({has})))
        if has in {right, Right.ADMIN}:
            assert ANONYMOUS == one.admit(f"Bearer {SECRET}", right)
        else:
            with pytest.raises(Forbidden, match=rf"^this token may {has}, not {right}$"):
                one.admit(f"Bearer {SECRET}", right)


@pytest.mark.parametrize(
    ("required", "tokens", "admitted"),
    [
        (False, (), True),
        (False, (token(),), True),
        (None, (), True),
        (None, (token(),), False),
        # One that was used up must not open the door again.
        (None, (token(revoked_at=NOW),), False),
        (True, (), False),
        (True, (token(),), False),
    ],
)
def test_a_sender_without_a_token_is_let_in_where_none_is_asked_for(
    required: bool | None, tokens: tuple[Token, ...], admitted: bool
) -> None:
    if admitted:
        assert ANONYMOUS == gate(*tokens, required=required).admit(None)
    else:
        with pytest.raises(Unauthenticated, match="a token is required"):
            gate(*tokens, required=required).admit(None)


def test_before_tokens_were_read_nobody_s_token_is_refused_for_good() -> None:
    for required in (True, False, None):
        with pytest.raises(StoreUnavailable):
            Gate(required=required, now=lambda: NOW).admit(f"Bearer {SECRET}")
    with pytest.raises(Unauthenticated):
        Gate(required=True, now=lambda: NOW).admit(None)


@pytest.fixture
async def store(database: str) -> AsyncIterator[TokenStore]:
    async with Database(database, application="test") as pool:
        yield TokenStore(pool)


async def add(store: TokenStore, secret: str, tenant: str | None = None, right: Right = Right.INGEST) -> int:
    return await store.add(
        digest(secret), tenant=tenant, rights=[right], note="a note", created_at=NOW, expires_at=NOW + timedelta(days=1)
    )


async def test_tokens_come_back_as_they_were_kept(store: TokenStore) -> None:
    first, second = await add(store, "slo_1", "acme"), await add(store, "slo_2", right=Right.ADMIN)
    assert [
        token("slo_1", id=first, tenant="acme", note="a note", expires_at=NOW + timedelta(days=1)),
        token("slo_2", id=second, rights=frozenset({Right.ADMIN}), note="a note", expires_at=NOW + timedelta(days=1)),
    ] == await store.read()


async def test_of_two_revocations_the_first_counts(store: TokenStore) -> None:
    id = await add(store, SECRET)
    assert [True, True] == [await store.revoke(id, NOW), await store.revoke(id, NOW + timedelta(days=1))]
    assert not await store.revoke(id + 1, NOW)
    assert [NOW] == [one.revoked_at for one in await store.read()]


# What follows asks the receivers.


async def test_grpc_reads_the_token_from_the_metadata_and_tells_why_not() -> None:
    address, stage = free_address(), Next()
    one = gate(token(tenant="acme"), token("slo_read", rights=frozenset({Right.READ})))

    def call(metadata: list[tuple[str, str]]) -> grpc.StatusCode:
        with grpc.insecure_channel(address) as channel:
            export = channel.unary_unary(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                response_deserializer=ExportTraceServiceResponse.FromString,
            )
            try:
                export(body([chat_span(1, NOW)]), metadata=metadata, timeout=10)
            except grpc.RpcError as error:
                code = error.code()
                assert isinstance(code, grpc.StatusCode)
                return code
        return grpc.StatusCode.OK

    async with serve_grpc(address, [traces(stage, ALLOW)], 100_000, one):
        codes = [
            await asyncio.to_thread(call, metadata)
            for metadata in ([("authorization", f"Bearer {SECRET}")], [], [("authorization", "Bearer slo_read")])
        ]
    assert [grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED] == codes
    assert [Principal("acme")] == stage.principals


Post = Callable[..., Awaitable[tuple[int, str | None]]]


async def poster(session: aiohttp.ClientSession, config: Config) -> Post:
    async def post(data: bytes, secret: str | None, path: str = "traces") -> tuple[int, str | None]:
        headers = {"Content-Type": "application/x-protobuf"} | ({"Authorization": f"Bearer {secret}"} if secret else {})
        async with session.post(f"http://{config.listen.otlp_http}/v1/{path}", data=data, headers=headers) as response:
            await response.read()
            return response.status, response.headers.get("WWW-Authenticate")

    return post


async def test_the_tenant_of_a_token_outranks_what_spans_say_and_a_token_of_none_leaves_it_to_them(
    database: str, store: TokenStore
) -> None:
    for secret, tenant, right in (
        ("slo_acme", "acme", Right.INGEST),
        ("slo_any", None, Right.INGEST),
        ("slo_r", None, Right.READ),
    ):
        await store.add(digest(secret), tenant=tenant, rights=[right], note="", created_at=NOW, expires_at=None)
    config = configuration().model_copy(update={"ingest": Ingest(require_tokens=True)})
    at = datetime.now(UTC)
    async with running(config, database), aiohttp.ClientSession() as session:
        post = await poster(session, config)
        stolen = [chat_span(number, at, tenant__id="globex") for number in range(3)]
        assert (200, None) == await post(body(stolen), "slo_acme")
        assert (200, None) == await post(body([chat_span(9, at, tenant__id="globex")]), "slo_any")
        assert (401, "Bearer") == await post(body([chat_span(10, at)]), None)
        assert (401, "Bearer") == await post(body([chat_span(11, at)]), "slo_unknown")
        assert (403, None) == await post(body([chat_span(12, at)]), "slo_r")
        # Whoever pages for an engine's death is no tenant.
        logs = log_body(["nothing"], at)
        assert [(403, None), (200, None)] == [await post(logs, secret, "logs") for secret in ("slo_acme", "slo_any")]
    with psycopg.connect(database) as connection:
        counts = connection.execute(
            "SELECT name, count(*) FROM requests JOIN tenants ON tenants.id = tenant_id GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert [("acme", 3), ("globex", 1)] == counts


async def test_a_new_token_is_known_soon_and_known_ones_work_while_the_table_cannot_be_read(
    database: str, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "TOKENS_SECONDS", 0.02)
    config = configuration()
    async with running(config, database), aiohttp.ClientSession() as session:
        post = await poster(session, config)
        # On loopback nobody needs a token, until there is one.
        assert (200, None) == await post(body([chat_span(1, datetime.now(UTC))]), None)
        id = await add_active(store, SECRET)
        await until(lambda: post(body([]), SECRET), 200)
        assert (401, "Bearer") == await post(body([]), None)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("ALTER TABLE tokens RENAME TO away")
            failed = failures()
            while failures() < failed + 2:
                assert (200, None) == await post(body([]), SECRET)
            connection.execute("ALTER TABLE away RENAME TO tokens")
        await store.revoke(id, datetime.now(UTC))
        await until(lambda: post(body([]), SECRET), 401)


async def add_active(store: TokenStore, secret: str) -> int:
    return await store.add(
        digest(secret), tenant=None, rights=[Right.INGEST], note="", created_at=datetime.now(UTC), expires_at=None
    )


async def until(ask: Callable[[], Awaitable[tuple[int, str | None]]], status: int) -> None:
    async with asyncio.timeout(60):
        while (await ask())[0] != status:
            pass


def failures() -> float:
    """How often tokens could not be read."""
    return REGISTRY.get_sample_value("llm_slo_loop_errors_total", {"loop": "tokens"}) or 0.0


# The command line.


def run(database: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["token", *arguments], env={DATABASE_URL: database, "LLM_SLO_CONFIG": None})


def test_a_token_is_printed_once_listed_without_its_secret_and_revoked(database: str) -> None:
    made = run(
        database, "create", "--tenant", "acme", "--can", "ingest", "--can", "read", "--note", "gate", "--expires-days", "2"
    )
    (secret,) = made.stdout.splitlines()
    assert (0, True) == (made.exit_code, secret.startswith("slo_"))
    (line,) = run(database, "list", "--json").stdout.splitlines()
    listed = json.loads(line)
    assert (1, "active", "acme", ["ingest", "read"], "gate", None) == tuple(
        listed[key] for key in ("id", "state", "tenant", "can", "note", "revoked_at")
    )
    lasts = datetime.fromisoformat(listed["expires_at"]) - datetime.fromisoformat(listed["created_at"])
    assert timedelta(days=2) == lasts
    assert (0, "token 1 is revoked\n") == (run(database, "revoke", "1").exit_code, run(database, "revoke", "1").stdout)
    assert "1  revoked  tenant acme  ingest read" in run(database, "list").stdout
    with psycopg.connect(database) as connection:
        (row,) = connection.execute("SELECT hash, tokens::text FROM tokens").fetchall()
    assert digest(secret) == row[0]
    assert secret not in row[1] + line


def test_what_the_command_line_cannot_do_is_said_in_one_line(database: str, empty_database: str) -> None:
    collector = login(database, Role.COLLECTOR)
    nowhere = make_conninfo(database, dbname=str(conninfo_to_dict(database)["dbname"]) + "_nowhere")
    for conninfo, arguments, code, said in (
        (database, ["revoke", "7"], 1, "there is no token 7"),
        (database, ["create", "--can", "ingest", "--tenant", " "], 2, "leave --tenant out for any"),
        (database, ["create", "--can", "fly"], 2, "'fly' is not one of"),
        (collector, ["create", "--can", "ingest"], 1, "connect as the owner"),
        (empty_database, ["list"], 1, "start this llm-slo once"),
        (nowhere, ["list"], 1, "the database cannot be reached"),
    ):
        result = run(conninfo, *arguments)
        assert (code, True) == (result.exit_code, said in result.output), result.output
    assert 0 == run(collector, "list").exit_code
