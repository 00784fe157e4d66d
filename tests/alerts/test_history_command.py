from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result

from collector.config import DATABASE_URL
from collector.request import Outcome
from collector.sample import Health
from collector.schema.access import Role
from llm_slo import main
from tests.alerts.receiver import receiving
from tests.alerts.scene import Scene, config_of, scene
from tests.migrations.login import login


def run(database: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={DATABASE_URL: database, "LLM_SLO_CONFIG": None})


@pytest.fixture
def outage(database: str) -> str:
    """A minute in which an engine died, one that was muted at first, and an SLO that burnt. Returns the database."""

    async def happen(on: Scene) -> None:
        await on.serve(seconds=60)
        await on.execute(
            "INSERT INTO mutes (matchers, author, reason, created_at, expires_at) "
            "VALUES ('{\"alertname\": \"EngineDead\"}', 'ann', 'new GPU', %s, %s)",
            (on.now, on.now + timedelta(seconds=45)),
        )
        await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
        await on.execute(
            "INSERT INTO changes (at, kind, source, replica_id, model_id, detail) VALUES (%s, 'deploy', 'argo', 0, 0, '{}')",
            (on.now,),
        )
        await on.begin()
        for outcome in (Outcome.SERVER_ERROR, Outcome.OK):
            await on.pass_time(30, outcome)
            await on.deliver()
        # By now the outage is in the past of whoever looks.
        for table, column in (("flips", "at"), ("outbox", "created_at"), ("outbox", "delivered_at"), ("alerts", "starts_at")):
            await on.execute(f"UPDATE {table} SET {column} = {column} - interval '10 minutes'")
        await on.execute(
            "UPDATE mutes SET created_at = created_at - interval '10 min', expires_at = expires_at - interval '10 min'"
        )

    async def in_scene() -> None:
        async with receiving() as receiver, scene(database, config_of(receiver.url)) as on:
            await happen(on)

    asyncio.run(in_scene())
    return database


def test_alerts_are_listed_shown_and_told_in_order(outage: str) -> None:
    listed = [json.loads(line) for line in run(outage, "alerts", "list", "--json").stdout.splitlines()]
    assert {"EngineDead", "SLOBurn"} == {alert["name"] for alert in listed}
    assert {"firing", "resolving"} >= {alert["state"] for alert in listed}
    dead = next(alert for alert in listed if alert["name"] == "EngineDead")
    assert f"{dead['fingerprint']}  firing  page  EngineDead  since " in run(outage, "alerts", "list").stdout

    shown = run(outage, "alerts", "show", dead["fingerprint"][:8])
    assert 0 == shown.exit_code
    assert "Ready replicas of llama: 0 of 1" in shown.stdout
    assert "inactive to firing: not ready since" in shown.stdout
    whole = json.loads(run(outage, "alerts", "show", dead["fingerprint"], "--json").stdout)
    assert ["delivered"] == [one["outcome"] for one in whole["notifications"]]
    assert 1 == whole["notifications"][0]["muted_by"]
    assert "tenants" not in whole["annotations"]

    told = run(outage, "alerts", "timeline", "--from", "1h")
    assert 0 == told.exit_code, told.exception
    timeline = told.stdout
    order = ["by ann: new GPU", "held back by mute 1", "is over", "  told      EngineDead"]
    assert sorted(timeline.index(text) for text in order) == [timeline.index(text) for text in order]
    assert "deploy by argo" in timeline
    entries = [json.loads(line) for line in run(outage, "alerts", "timeline", "--json").stdout.splitlines()]
    assert sorted(entry["at"] for entry in entries) == [entry["at"] for entry in entries]
    assert {"alert", "told", "not told", "mute", "change"} == {entry["what"] for entry in entries}


def test_what_is_not_there_or_makes_no_sense_is_said(database: str) -> None:
    missing = run(database, "alerts", "show", "beef")
    assert (1, "llm-slo: there is no alert beef\n") == (missing.exit_code, missing.stderr)
    assert (0, "") == ((empty := run(database, "alerts", "list")).exit_code, empty.stdout)
    backwards = run(database, "alerts", "timeline", "--from", "2026-01-02", "--to", "2026-01-01T00:00+01:00")
    assert (2, True) == (backwards.exit_code, "the end lies before the beginning" in backwards.stderr)
    wrong = run(database, "alerts", "timeline", "--from", "yesterday")
    assert (2, True) == (wrong.exit_code, "'yesterday' is no time" in wrong.stderr)


def test_a_mute_is_made_listed_and_ended(outage: str) -> None:
    arguments = ("--label", "alertname=SLOBurn", "--for", "2h", "--by", "bob", "--reason", "known")
    made = run(outage, "mute", "add", *arguments)
    assert (0, "2\n") == (made.exit_code, made.stdout)
    assert "fires now: llama: availability" in made.stderr
    first, second = [json.loads(line) for line in run(outage, "mute", "list", "--json").stdout.splitlines()]
    assert ("expired", "active") == (first["state"], second["state"])
    assert ({"alertname": "SLOBurn"}, "bob", "known") == (second["labels"], second["by"], second["reason"])
    assert "2  active  alertname=SLOBurn  until " in run(outage, "mute", "list").stdout

    assert "mute 2 is over\n" == run(outage, "mute", "end", "2").stdout
    again = run(outage, "mute", "end", "2")
    assert (1, "llm-slo: there is no mute 2 that holds\n") == (again.exit_code, again.stderr)


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--label", "alertname", "'alertname' is not NAME=VALUE"),
        ("--for", "2 hours", "is no length of time"),
        ("--for", "90d", "30d at most"),
        ("--by", " ", "a few words"),
    ],
)
def test_a_mute_that_makes_no_sense_is_refused(database: str, option: str, value: str, why: str) -> None:
    usual = {"--label": "alertname=SLOBurn", "--for": "2h", "--by": "bob", "--reason": "known"} | {option: value}
    refused = run(database, "mute", "add", *[part for pair in usual.items() for part in pair])

    assert (2, True) == (refused.exit_code, why in refused.stderr)


def test_the_alerter_s_role_is_enough_and_a_reader_s_is_not_for_a_mute(outage: str) -> None:
    alerter, reader = (login(outage, role) for role in (Role.ALERTER, Role.GRAFANA))
    mute = ("mute", "add", "--label", "model=llama", "--for", "1h", "--by", "bob", "--reason", "known")

    assert (0, "2\n") == ((made := run(alerter, *mute)).exit_code, made.stdout)
    assert 0 == run(alerter, "mute", "end", "2").exit_code
    for login_, arguments in ((alerter, ("timeline",)), (reader, ("list",)), (reader, ("timeline",))):
        assert 0 == run(login_, "alerts", *arguments).exit_code
    refused = run(reader, *mute)
    assert (1, True) == (refused.exit_code, "connect as llm_slo_alerter" in refused.stderr)
