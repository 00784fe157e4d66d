"""Three alerters, and a real Alertmanager that tells a webhook what it makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import aiohttp
import pytest

from alerts import blind
from alerts.heartbeat import watchdog
from alerts.notify.alertmanager import AlertmanagerNotifier
from alerts.notify.notification import Answer, Delivered, Notification, Refused
from collector.config import Config
from collector.sample import Health
from collector.sink import Alertmanager, Alerts, Sinks
from tests.alerts.gate import gate
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import scene, terminate
from tests.alerts.test_daemon import alerter, evaluated_after, leaders, until
from tests.e2e.alertmanager import alertmanager

START = datetime.now(UTC) - timedelta(minutes=3)


class Pager(NamedTuple):
    """An Alertmanager and the webhook behind it."""

    url: str
    webhook: Receiver

    def config(self, *, watchdog: bool = False) -> Config:
        member = Alertmanager(name="am-0", url=self.url)
        return Config(sinks=Sinks(alertmanagers=(member,)), alerts=Alerts(watchdog=watchdog))

    async def send(self, *message: Notification) -> Answer:
        async with aiohttp.ClientSession() as session:
            member = self.config().sinks.alertmanagers[0]
            return await AlertmanagerNotifier(member, session, url="", now=lambda: datetime.now(UTC)).send(message)

    async def active(self) -> list[dict[str, Any]]:
        """The alerts that fire there."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v2/alerts") as response:
            return list(await response.json())

    def told(self) -> list[tuple[str, str, str]]:
        """Name, severity and status of each alert of each message, in order."""
        return [(one["labels"]["alertname"], one["labels"]["severity"], one["status"]) for one in self.webhook.alerts]


@pytest.fixture
async def pager() -> AsyncIterator[Pager]:
    async with receiving() as webhook, alertmanager(webhook.url) as url:
        yield Pager(url, webhook)


def notification(**changes: Any) -> Notification:
    fields: dict[str, Any] = {
        "fingerprint": "00000000deadbeef",
        "status": "firing",
        "starts_at": START,
        "ends_at": None,
        "labels": {"alertname": "EngineDead", "model": "llama", "severity": "page"},
        "annotations": {"summary": "dead"},
    }
    return Notification(**(fields | changes))


async def test_the_same_flips_from_three_alerters_are_one_message_each(pager: Pager) -> None:
    for _ in range(3):
        assert Delivered() == await pager.send(notification())
    await until(lambda: len(pager.webhook.bodies) == 1)
    for _ in range(3):
        assert Delivered() == await pager.send(notification(status="resolved", ends_at=datetime.now(UTC)))
    await until(lambda: len(pager.webhook.bodies) == 2)
    await asyncio.sleep(2)  # more than a group interval: nothing else comes

    assert [("EngineDead", "page", "firing"), ("EngineDead", "page", "resolved")] == pager.told()
    assert 1 == len({body["groupKey"] for body in pager.webhook.bodies})


async def test_a_ticket_that_rises_is_a_page_with_the_same_start_and_no_ticket_any_more(pager: Pager) -> None:
    ticket = notification(labels={"alertname": "EngineDead", "model": "llama", "severity": "ticket"})
    await pager.send(ticket)
    await until(lambda: len(pager.webhook.bodies) == 1)
    await pager.send(notification(raised_at=datetime.now(UTC)))
    await until(lambda: len(pager.webhook.bodies) == 2)

    assert {("EngineDead", "page", "firing"), ("EngineDead", "ticket", "resolved")} == set(pager.told()[1:])
    assert ["page"] == [alert["labels"]["severity"] for alert in await pager.active()]
    assert 1 == len({alert["startsAt"] for alert in pager.webhook.alerts})


async def test_a_bad_alert_is_refused_and_the_good_ones_beside_it_are_taken(pager: Pager) -> None:
    bad = notification(labels={"alertname": "Bad", "severity": "page", "not-a-name": "x"})

    assert Refused("HTTP 400") == await pager.send(notification(), bad)
    assert ["EngineDead"] == [alert["labels"]["alertname"] for alert in await pager.active()]
    assert Refused("HTTP 400") == await pager.send(bad)


@pytest.mark.parametrize(
    "url",
    ["https://grafana/d/x?var-model=org%2Fllama%203&from=1", "http://[::1]:3000/d", "grafana/d", "http://a b/", "http://g/%zz"],
)
async def test_no_link_costs_an_alert(pager: Pager, url: str) -> None:
    assert Delivered() == await pager.send(notification(annotations={"board_url": url}))


async def test_the_watchdog_is_taken(pager: Pager) -> None:
    assert Delivered() == await pager.send(watchdog(Config(), START))
    await until(lambda: pager.told() == [("Watchdog", "none", "firing")])


async def test_an_outage_under_three_alerters_is_one_page_and_its_end_although_the_leader_dies(
    pager: Pager, database: str
) -> None:
    config = pager.config()
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(scene(database, config))
        await on.collector_lives()
        await on.replica("vllm-0", Health.UNREACHABLE, since=6, ready_ago=11)
        alerters = [await stack.enter_async_context(alerter(config, database)) for _ in range(3)]
        await until(lambda: len(pager.webhook.bodies) == 1)

        (leader,) = await leaders(database)
        await terminate(database, leader)
        while (await leaders(database)) in ([], [leader]):
            pass
        # What the new leader reads and delivers first is done with its second evaluation.
        await until(evaluated_after(datetime.now(UTC), *alerters))
        await until(evaluated_after(datetime.now(UTC), *alerters))
        assert 1 == len(await pager.active())
        assert [("EngineDead", "page", "firing")] == pager.told()

        on.now = datetime.now(UTC)
        await on.replica("vllm-0", Health.READY)
        await on.collector_lives()
        await until(lambda: len(pager.webhook.bodies) == 2)

    assert ("EngineDead", "page", "resolved") == pager.told()[1]
    assert 1 == len({alert["startsAt"] for alert in pager.webhook.alerts})
    assert 1 == len({body["groupKey"] for body in pager.webhook.bodies})


async def test_without_postgres_three_alerters_are_one_page_and_its_end(
    pager: Pager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blind, "BLIND_SECONDS", 2.0)
    monkeypatch.setattr(blind, "HOLD_SECONDS", 0.5)
    monkeypatch.setattr(blind, "LOOK_SECONDS", 0.05)
    async with gate(database) as way, AsyncExitStack() as stack:
        alerters = [await stack.enter_async_context(alerter(pager.config(), way.conninfo)) for _ in range(3)]
        await until(lambda: any(one.leading for one in alerters))
        await way.shut()
        await until(lambda: len(pager.webhook.bodies) == 1)
        await way.open()
        await until(lambda: len(pager.webhook.bodies) == 2)
        await until(lambda: any(one.leading for one in alerters))

    assert [("MonitoringBlind", "page", "firing"), ("MonitoringBlind", "page", "resolved")] == pager.told()
    assert [{"postgres"}, {pager.webhook.alerts[0]["startsAt"]}] == [
        {alert["labels"]["cause"] for alert in pager.webhook.alerts},
        {alert["startsAt"] for alert in pager.webhook.alerts},
    ]
