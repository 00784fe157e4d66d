"""A whole page, from requests in Postgres to what two sinks get of it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from collector.config import Config
from collector.request import Outcome
from collector.rollup import roll
from collector.sample import Health
from collector.sink import Alerts, Sinks, Slack, Webhook
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, scene

SLOS = """slos:
  - {name: availability, sli: availability, target: 99.5, group_by: [model, tenant], advice: Look at the replica.}
"""


@pytest.fixture
def slos(tmp_path: Path) -> Path:
    path = tmp_path / "slos.yaml"
    path.write_text(SLOS)
    return path


async def outage(on: Scene) -> None:
    """One tenant of two, and one replica of three, from some second on."""
    on.now -= timedelta(minutes=20)
    for _ in range(19):
        on.now += timedelta(minutes=1)
        await on.serve(requests=40, tenant="acme", replica="vllm-0", input_tokens=100)
    await on.execute(
        "INSERT INTO changes (at, kind, source, replica_id, model_id, detail) VALUES (%s, 'deploy', 'argo', 0, 0, '{}')",
        (on.now,),
    )
    on.now += timedelta(minutes=1)
    await roll(on.database, on.now)
    await on.replica("vllm-1", Health.READY)
    await on.begin()
    for _ in range(30):
        await on.serve(requests=3, tenant="acme", replica="vllm-0", input_tokens=100)
        await on.serve(Outcome.TIMEOUT, 2, tenant="acme", replica="vllm-1", input_tokens=9000)
        await on.serve(requests=2, tenant="beta", replica="vllm-2", input_tokens=100)
        await on.pass_time(1, None)
    await on.deliver()


async def test_a_page_explains_itself_and_a_chat_hears_of_no_tenant(
    database: str, slos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as hook, receiving() as chat:
        chat.text = "ok"
        monkeypatch.setenv("CHANNEL", chat.url)
        config = Config(
            slos=slos,
            board_url="https://grafana.example.com",
            alerts=Alerts(runbook_url="https://wiki/{alertname}", trace_url="https://tempo/{trace_id}", labels={"team": "llm"}),
            sinks=Sinks(webhooks=(Webhook(name="hook", url=hook.url),), slack=(Slack(name="chat", url_env="CHANNEL"),)),
        )
        async with scene(database, config) as on:
            await outage(on)

    (alert,) = [one for one in hook.alerts if one["labels"]["alertname"] == "SLOBurn"]
    lines = alert["annotations"]["description"].splitlines()
    assert ("acme", "llm") == (alert["labels"]["tenant"], alert["labels"]["team"])
    assert_matches(
        [
            r"availability of llama \(acme\): target 99\.5 %\.",
            r"Failed in the last 5 min: \d+ of \d+ requests\.",
            r"Burn .*",
            r"Error budget of 30 days: .* spent\.",
            r"Since \d\d:\d\d:\d\d UTC\.",
            r"Requests hurt in the last 5 min: \d+ \(timeout \d+\)\.",
            r"Tenants hurt: acme \d+\.",
            r"Stands out: replica vllm-1 has (\d+) of \1 failures \(100%\) and \d+% of the requests\.",
            r"Probable cause: deploy of all replicas \(argo\) at \d\d:\d\d:\d\d UTC, \d+ (s|min) before it began\.",
            r"Traces: (https://tempo/[0-9a-f]{32} ?){3}",
            r"Look at the replica\.",
            r"Board: https://grafana\.example\.com/d/llm-slo-on-call\?from=\d+&to=\d+&var-model=llama",
            r"Runbook: https://wiki/SLOBurn",
        ],
        lines,
    )
    told = json.dumps(chat.bodies)
    assert "Tenants hurt: 1." in told
    assert "llama (hidden): availability 99.5 %" in told
    assert "acme" not in told
    assert "beta" not in told


def assert_matches(expected: list[str], lines: list[str]) -> None:
    """Each pattern has its line, in this order; lines between them are welcome."""
    rest = iter(lines)
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in rest), f"{pattern} is not in\n" + "\n".join(lines)


async def test_a_page_goes_without_what_cannot_be_read_in_time(
    database: str, slos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerts.evaluate.STORIES_SECONDS", -1.0)
    async with receiving() as hook:
        config = Config(slos=slos, sinks=Sinks(webhooks=(Webhook(name="hook", url=hook.url),)))
        async with scene(database, config) as on:
            await outage(on)

    assert "Requests hurt" not in description(hook)
    assert "Failed in the last 5 min" in description(hook)


def description(hook: Receiver) -> str:
    (alert,) = [one for one in hook.alerts if one["labels"]["alertname"] == "SLOBurn"]
    return str(alert["annotations"]["description"])
