"""``llm-slo mute``: tell direct sinks nothing of some alerts for a while."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from alerts.mute import Mute, parse_matchers
from alerts.session import Span, ask, minute
from alerts.store.leader import Connection
from alerts.store.mute import Firing, add_mute, end_mute, read_firing, read_mutes
from collector.session import CONFIG, JSON, leave, quiet

_SHOWN = timedelta(days=7)


@click.group()
def mute() -> None:
    """Mute alerts for a while. They are evaluated and recorded all the same; Alertmanager has silences of its own."""
    quiet()


@mute.command()
@CONFIG
@click.option("--label", "labels", required=True, multiple=True, metavar="NAME=VALUE", help="Label that an alert must have.")
@click.option("--for", "span", required=True, type=Span(), help="For how long, such as 2h or 1h30m; 30d at most.")
@click.option("--by", "author", required=True, help="Who mutes.")
@click.option("--reason", required=True, help="Why: whoever finds it at night will ask.")
def add(config_path: Path | None, labels: tuple[str, ...], span: timedelta, author: str, reason: str) -> None:
    """Mute the alerts that have all these labels, from now on. What fires still when the time is over is sent then.

    \b
    Example:
      llm-slo mute add --label alertname=EngineDead --label replica=vllm-3 --for 2h --by ann --reason "new GPU"
    """
    try:
        matchers = parse_matchers(labels)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--label") from error
    for name, text in (("--by", author), ("--reason", reason)):
        if not text.strip():
            raise click.BadParameter("a few words", param_hint=name)
    now = datetime.now(UTC)

    async def work(connection: Connection) -> tuple[int, list[Firing]]:
        end = now + span
        id = await add_mute(connection, matchers, author=author, reason=reason, now=now, expires_at=end)
        return id, await read_firing(connection, matchers)

    id, firing = ask(config_path, work)
    click.echo(f"mute {id} holds until {minute(now + span)}", err=True)
    for alert in firing:
        click.echo(f"fires now: {alert.summary}", err=True)
    if not firing:
        click.echo("no alert that fires now has these labels", err=True)
    click.echo(id)


@mute.command("list")
@CONFIG
@JSON
def list_mutes(config_path: Path | None, as_json: bool) -> None:
    """List the mutes that hold, and those that were over within 7 days.

    \b
    Example:
      llm-slo mute list --json
    """
    now = datetime.now(UTC)
    for one in ask(config_path, lambda connection: read_mutes(connection, now - _SHOWN)):
        click.echo(json.dumps(_fields(one, now)) if as_json else _line(one, now))


@mute.command()
@CONFIG
@click.argument("id", type=int)
def end(config_path: Path | None, id: int) -> None:
    """End a mute before its time. What it held back and fires still is sent within a second.

    \b
    Example:
      llm-slo mute end 7
    """
    now = datetime.now(UTC)
    if not ask(config_path, lambda connection: end_mute(connection, id, now)):
        leave(f"there is no mute {id} that holds", 1)
    click.echo(f"mute {id} is over")


def _fields(one: Mute, now: datetime) -> dict[str, object]:
    return {
        "id": one.id,
        "state": one.state(now),
        "labels": dict(one.matchers),
        "by": one.author,
        "reason": one.reason,
        "created_at": one.created_at.isoformat(),
        "expires_at": one.expires_at.isoformat(),
        "ended_at": None if one.ended_at is None else one.ended_at.isoformat(),
    }


def _line(one: Mute, now: datetime) -> str:
    labels = " ".join(f"{name}={value}" for name, value in sorted(one.matchers.items()))
    return f"{one.id}  {one.state(now)}  {labels}  until {minute(one.ended_at or one.expires_at)}  {one.author}: {one.reason}"
