"""Every alert that can be raised has a runbook, and is raised here for real: from rows in Postgres to a sink, with its link."""

from __future__ import annotations

import ast
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import aiohttp
import psycopg
import pytest
from prometheus_client import REGISTRY

import alerts
from alerts.daemon import notifiers_of
from alerts.deliver import Resend
from alerts.heartbeat import watchdog
from alerts.slo import load_slos
from collector.config import Config
from collector.request import ObservedBy, Outcome
from collector.sample import Health
from collector.sink import Alertmanager, Alerts, Sinks, Webhook
from dashboards.on_call import on_call
from tests.alerts.member import member
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, scene
from tests.test_llm_slo import commands

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
ALERTS = Alerts(runbook_url="https://wiki.example.com/{alertname}")
_SECTIONS = ["What it means", "How to confirm", "What to do", "What not to do"]
_NAME = re.compile(r"(?:[A-Z]+[a-z]+){2,}|[A-Z][a-z]+[A-Z]+|[A-Z]{2,}[a-z]+|Watchdog")


def names() -> list[str]:
    """Every name of an alert in the code: what is written there as a text and looks like one."""
    found = set()
    for path in Path(str(alerts.__file__)).parent.rglob("*.py"):
        texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        found |= {text for text in texts if isinstance(text, str) and _NAME.fullmatch(text)}
    return sorted(found)


async def slo_burn(on: Scene) -> None:
    await on.serve(seconds=60)
    await on.begin()
    await on.pass_time(30, Outcome.SERVER_ERROR)


async def slo_slow_burn(on: Scene) -> None:
    await on.serve(requests=1)
    ((stream,),) = await on.execute("SELECT id FROM streams WHERE objective_id = %s", (on.slos[0].objective.id,))
    await on.execute(
        "INSERT INTO slo_minute SELECT minute, %(stream)s, 980, 20 "
        "FROM generate_series(%(now)s - interval '30 hours', %(now)s - interval '2 minutes', interval '10 minutes') AS minute",
        {"stream": stream, "now": on.now.replace(second=0)},
    )
    await on.begin()
    await on.pass_time(2)


async def _death(on: Scene, detail: str) -> None:
    await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
    await _event(on, "death", detail, ago=11)
    await on.begin()
    await on.pass_time(1, None)


async def _event(on: Scene, kind: str, detail: str, ago: float) -> None:
    await on.execute(
        "INSERT INTO events (at, kind, replica_id, model_id, detail) "
        "SELECT %s, %s, replica_id, model_id, %s FROM replica_states",
        (on.now - timedelta(seconds=ago), kind, detail),
    )


async def engine_dead(on: Scene) -> None:
    await _death(on, '{"cause": "device_error"}')


async def engine_oom(on: Scene) -> None:
    await _death(on, '{"cause": "oom"}')


async def unexpected_restart(on: Scene) -> None:
    await on.replica("vllm-0", Health.READY)
    await _event(on, "restart", "{}", ago=180)
    await on.begin()
    await on.pass_time(1, None)


async def frozen_gauges(on: Scene) -> None:
    await on.replica("vllm-0", Health.READY)
    await on.execute("UPDATE replica_states SET gauges_frozen_since = %s", (on.now - timedelta(seconds=70),))
    await on.begin()
    await on.pass_time(1, None)


async def canary_failed(on: Scene) -> None:
    await on.replica("vllm-0", Health.READY)
    await _event(on, "canary_failed", '{"outcome": "timeout"}', ago=5)
    await on.begin()
    await on.pass_time(1, None)


async def no_data(on: Scene) -> None:
    await on.replica("vllm-0", Health.READY)
    await on.begin()
    on.now += timedelta(minutes=5)
    await on.pass_time(1, None)


async def no_spans(on: Scene) -> None:
    on.now -= timedelta(hours=1)
    await on.serve()
    on.now += timedelta(hours=1)
    for ago, finished in ((120, 100), (60, 150)):
        await on.execute(
            "INSERT INTO snapshots (scraped_at, scrape_seconds, tenant_id, cluster_id, environment_id, model_id, replica_id, "
            "layout_id, engine, requests_finished_stop) VALUES (%s, 0.1, 0, 1, 1, 1, 1, 1, '0', %s)",
            (on.now - timedelta(seconds=ago), finished),
        )
    await on.begin()
    await on.pass_time(1, None)


async def monitoring_blind(on: Scene) -> None:
    await on.collector_lives()
    evaluator = await on.begin()
    on.now += timedelta(seconds=31)
    await evaluator.tick(on.now)


async def slow_replica(on: Scene) -> None:
    await on.begin()
    for _ in range(60):
        for number in range(12):
            slow = 0.1 if number else 0.9
            await on.serve(requests=1, replica=f"vllm-{number}", ttft_seconds=slow)
        await on.pass_time(1, None)


async def sink_failing(on: Scene) -> None:
    await on.execute(
        "INSERT INTO outbox (fingerprint, starts_at, revision, status, sink, payload, created_at, attempts, next_attempt_at, "
        "last_error) VALUES ('f', %(at)s, 0, 'firing', 'other', '{\"labels\": {\"severity\": \"page\"}, \"annotations\": {}}', "
        "%(at)s, 9, %(later)s, 'HTTP 503')",
        {"at": on.now - timedelta(minutes=6), "later": on.now + timedelta(hours=1)},
    )
    await on.begin()
    await on.pass_time(1, None)


RAISED: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "CanaryFailed": canary_failed,
    "EngineDead": engine_dead,
    "EngineOOM": engine_oom,
    "FrozenGauges": frozen_gauges,
    "MonitoringBlind": monitoring_blind,
    "NoData": no_data,
    "NoSpans": no_spans,
    "SLOBurn": slo_burn,
    "SLOSlowBurn": slo_slow_burn,
    "SinkFailing": sink_failing,
    "SlowReplica": slow_replica,
    "UnexpectedRestart": unexpected_restart,
}
"""How each alert comes about."""


def config_for(receiver: Receiver) -> Config:
    """A receiver, and a sink that is not there."""
    hooks = (Webhook(name="hook", url=receiver.url), Webhook(name="other", url="http://127.0.0.1:9/", timeout_seconds=0.1))
    return Config(sinks=Sinks(webhooks=hooks), alerts=ALERTS)


@pytest.mark.parametrize("name", sorted(RAISED))
async def test_it_is_raised_for_real_and_links_to_its_runbook(database: str, name: str) -> None:
    async with receiving() as receiver, scene(database, config_for(receiver)) as on:
        await RAISED[name](on)
        await on.deliver()

    (alert,) = [alert for alert in receiver.alerts if alert["labels"]["alertname"] == name]
    assert "firing" == alert["status"]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert f"https://wiki.example.com/{name}" == alert["annotations"]["runbook_url"]
    assert f"Runbook: https://wiki.example.com/{name}" in alert["annotations"]["description"].splitlines()
    assert alert["annotations"]["summary"]


async def test_the_watchdog_reaches_alertmanager_with_a_link_to_its_runbook(database: str) -> None:
    async with member() as one, aiohttp.ClientSession() as session:
        config = Config(sinks=Sinks(alertmanagers=(Alertmanager(name="am", url=one.url),)), alerts=ALERTS)
        async with scene(database, config) as on:
            (notifier,) = notifiers_of(config, session, lambda: on.now)
            resend = Resend(on.database, notifier, 60)
            await resend.send_when_due(lambda: [watchdog(config, on.now)], lambda: on.now, 0.0)

    (alert,) = one("Watchdog")
    assert "https://wiki.example.com/Watchdog" == alert["annotations"]["runbook_url"]


def test_every_alert_is_raised_here_and_has_a_runbook() -> None:
    expected = sorted({*RAISED, "Watchdog"})

    assert expected == names()
    assert expected == sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.stem != "README")


@pytest.mark.parametrize("name", names())
def test_a_runbook_says_what_it_means_how_to_confirm_and_what_to_do(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()

    assert text.startswith(f"# {name}\n")
    assert _SECTIONS == re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_what_a_runbook_names_is_there() -> None:
    text = "".join(path.read_text() for path in sorted(RUNBOOKS.glob("*.md")))
    verbs = {" ".join(words) for words, _ in commands()}
    board = on_call(load_slos(Config()), ObservedBy.GATEWAY)
    titles = {panel.chart.title for section in board.sections for panel in section.panels}
    named = {title for line in text.splitlines() if "*" in line for title in re.findall(r"(?<![*\w])\*([A-Z][^*]+)\*", line)}
    called = {call.strip() for call in re.findall(r"llm-slo ((?:[a-z]+ )?[a-z]+)", text)}

    assert [] == sorted(call for call in called if not any(call == verb or call.startswith(f"{verb} ") for verb in verbs))
    # Two are parts of a page and of a table.
    assert [] == sorted(named - titles - {board.title, "Stands out", "Probable cause", "Detail"})
    assert [] == [path for path in re.findall(r"`(docs/[\w./-]+)`", text) if not (RUNBOOKS.parents[1] / path).exists()]


@pytest.mark.parametrize(
    "statement",
    [one for path in sorted(RUNBOOKS.glob("*.md")) for one in re.findall(r"```sql\n(.*?)```", path.read_text(), re.S)],
)
async def test_statements_of_runbooks_work(database: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute(statement)


def test_metrics_that_runbooks_name_are_exposed() -> None:
    text = "".join(path.read_text() for path in sorted(RUNBOOKS.glob("*.md")))
    known = {sample.name for family in REGISTRY.collect() for sample in family.samples} | {
        f"{family.name}_total" if family.type == "counter" else family.name for family in REGISTRY.collect()
    }
    assert [] == sorted(name for name in set(re.findall(r"llm_slo_[a-z_]+[a-z]", text)) if name not in known)
