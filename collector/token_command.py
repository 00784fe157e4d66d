"""``llm-slo token``: make, list and revoke the tokens that senders and readers show."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click

from collector.session import CONFIG, JSON, leave, quiet, use
from collector.store.connection import Database
from collector.store.token import TokenStore
from collector.token import Right, Token, digest, mint

Result = TypeVar("Result")


@click.group()
def token() -> None:
    """Tokens of senders and readers. Needs the database: database_url, or the embedded Postgres."""
    quiet()


@token.command()
@CONFIG
@click.option("--tenant", help="Tenant of everything that is sent or read with it; any where it is left out.")
@click.option(
    "--can",
    "rights",
    required=True,
    multiple=True,
    type=click.Choice([right.value for right in Right]),
    help="What it is good for.",
)
@click.option("--note", default="", help="What it is for; shown in the list.")
@click.option(
    "--expires-days", type=click.FloatRange(min=0, min_open=True), help="Days until it is refused; never unless given."
)
def create(
    config_path: Path | None, tenant: str | None, rights: tuple[str, ...], note: str, expires_days: float | None
) -> None:
    """Make a token and print it, once: only its hash is kept.

    \b
    Example:
      llm-slo token create --tenant acme --can ingest --note "gateway of acme" --expires-days 365
    """
    if tenant is not None and not tenant.strip():
        raise click.BadParameter("a name, or leave --tenant out for any", param_hint="--tenant")
    secret, now = mint(), datetime.now(UTC)
    expires_at = None if expires_days is None else now + timedelta(days=expires_days)

    async def add(store: TokenStore) -> int:
        allowed = [Right(right) for right in rights]
        return await store.add(digest(secret), tenant=tenant, rights=allowed, note=note, created_at=now, expires_at=expires_at)

    id = _with_store(config_path, add)
    click.echo(f"token {id}: write it down, it is not shown again", err=True)
    click.echo(secret)


@token.command("list")
@CONFIG
@JSON
def list_tokens(config_path: Path | None, as_json: bool) -> None:
    """List every token there ever was, without its secret.

    \b
    Example:
      llm-slo token list --json
    """
    now = datetime.now(UTC)
    for one in _with_store(config_path, TokenStore.read):
        click.echo(json.dumps(_fields(one, now)) if as_json else _line(one, now))


@token.command()
@CONFIG
@click.argument("id", type=int)
def revoke(config_path: Path | None, id: int) -> None:
    """Refuse a token from now on; collectors know within 10 seconds. ID is what `llm-slo token list` shows.

    \b
    Example:
      llm-slo token revoke 7
    """
    now = datetime.now(UTC)
    if not _with_store(config_path, lambda store: store.revoke(id, now)):
        leave(f"there is no token {id}", 1)
    click.echo(f"token {id} is revoked")


def _fields(one: Token, now: datetime) -> dict[str, object]:
    times = {"created_at": one.created_at, "expires_at": one.expires_at, "revoked_at": one.revoked_at}
    return {
        "id": one.id,
        "state": one.state(now),
        "tenant": one.tenant,
        "can": sorted(one.rights),
        **{name: None if at is None else at.isoformat() for name, at in times.items()},
        "note": one.note,
    }


def _line(one: Token, now: datetime) -> str:
    until = "" if one.expires_at is None else f"  until {one.expires_at:%Y-%m-%d %H:%M} UTC"
    whose = "any tenant" if one.tenant is None else f"tenant {one.tenant}"
    since = f"since {one.created_at:%Y-%m-%d}{until}"
    return f"{one.id}  {one.state(now)}  {whose}  {' '.join(sorted(one.rights))}  {since}  {one.note}".rstrip()


def _with_store(config_path: Path | None, work: Callable[[TokenStore], Awaitable[Result]]) -> Result:
    """Do something with the tokens."""

    async def run(database: Database) -> Result:
        return await work(TokenStore(database))

    return use(
        config_path,
        run,
        application="llm-slo token",
        older="the database has no tokens yet: start this llm-slo once, which brings it up to date",
        refused="this login may not do that: connect as the owner of llm-slo's tables",
    )
