"""``llm-slo alerts``: what fires, what was told to whom, and what happened around it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from alerts.history import Entry, Past, Telling, Whole
from alerts.session import Moment, ask, minute
from alerts.store.history import ENTRIES, read_alerts_since, read_timeline, read_whole
from collector.session import CONFIG, JSON, leave, quiet

_SHOWN = timedelta(days=1)


@click.group()
def alerts() -> None:
    """Alerts, and their history."""
    quiet()


@alerts.command("list")
@CONFIG
@click.option("--all", "all_", is_flag=True, help="Every alert there ever was; else those that fire, and of the last day.")
@JSON
def list_alerts(config_path: Path | None, all_: bool, as_json: bool) -> None:
    """List alerts, those that fire first.

    \b
    Example:
      llm-slo alerts list --json
    """
    since = None if all_ else datetime.now(UTC) - _SHOWN
    for one in ask(config_path, lambda connection: read_alerts_since(connection, since)):
        click.echo(json.dumps(_fields(one)) if as_json else _line(one))


@alerts.command()
@CONFIG
@click.argument("fingerprint")
@JSON
def show(config_path: Path | None, fingerprint: str, as_json: bool) -> None:
    """Show one alert whole: its page, every change of it, and what became of every notification. The beginning of its
    fingerprint is enough.

    \b
    Example:
      llm-slo alerts show 3f2a
    """
    found = ask(config_path, lambda connection: read_whole(connection, fingerprint))
    if not found:
        leave(f"there is no alert {fingerprint}", 1)
    if len(found) > 1:
        several = ", ".join(whole.alert.fingerprint for whole in found)
        leave(f"several alerts begin with {fingerprint}: {several}", 1)
    click.echo(json.dumps(_whole(found[0])) if as_json else "\n".join(_lines(found[0])))


@alerts.command()
@CONFIG
@click.option("--from", "since", type=Moment(), default="24h", help="Begin: 2026-11-24T03:12 (UTC), or 2h for so long ago.")
@click.option("--to", "until", type=Moment(), help="End; now unless given.")
@JSON
def timeline(config_path: Path | None, since: datetime, until: datetime | None, as_json: bool) -> None:
    """Print what happened, in order: flips, notifications, mutes, events of engines, changes. For the post-mortem.

    \b
    Example:
      llm-slo alerts timeline --from 2026-11-24T03:00 --to 2026-11-24T04:00
    """
    end = until or datetime.now(UTC)
    if end < since:
        raise click.BadParameter("the end lies before the beginning", param_hint="--to")
    entries = ask(config_path, lambda connection: read_timeline(connection, since, end))
    for one in entries:
        click.echo(json.dumps(_texts(one._asdict())) if as_json else _entry(one))
    if len(entries) == ENTRIES:
        click.echo(f"these are the first {ENTRIES}: go on with --from {entries[-1].at.isoformat()}", err=True)


def _texts(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields as JSON has them: times as text."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


def _fields(one: Past) -> dict[str, object]:
    return _texts(one._asdict())


def _whole(whole: Whole) -> dict[str, object]:
    return {
        **_fields(whole.alert),
        "flips": [_texts(turn._asdict()) for turn in whole.turns],
        "notifications": [{**_texts(one._asdict()), "outcome": one.outcome} for one in whole.tellings],
    }


def _line(one: Past) -> str:
    began = "" if one.starts_at is None else f"  since {minute(one.starts_at)}"
    ended = "" if one.ends_at is None else f" until {minute(one.ends_at)}"
    muted = "  (muted)" if one.muted else ""
    return f"{one.fingerprint}  {one.state}  {one.labels['severity']}  {one.name}{began}{ended}{muted}  {one.summary}"


def _lines(whole: Whole) -> list[str]:
    alert = whole.alert
    labels = " ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    described = alert.annotations.get("description", "").splitlines()
    turns = [f"  {minute(turn.at)}  {turn.from_state} to {turn.to_state}: {turn.reason}" for turn in whole.turns]
    return [
        _line(alert),
        f"  {labels}",
        *(f"  {line}" for line in described),
        "Changes:",
        *turns,
        "Notifications:",
        *(f"  {_telling(one)}" for one in whole.tellings),
    ]


def _telling(one: Telling) -> str:
    at = one.delivered_at or one.failed_at or one.created_at
    why = {
        "muted": f" by mute {one.muted_by}",
        "refused": f": {one.last_error}",
        "waiting": "" if one.last_error is None else f" after {one.attempts} attempts: {one.last_error}",
    }.get(one.outcome, "")
    return f"{minute(at)}  {one.sink}  {one.status} ({one.revision})  {one.outcome}{why}"


def _entry(one: Entry) -> str:
    return f"{minute(one.at)}  {one.what:8}  {one.about}  {one.text}"
