"""What a sink that forgets is told again: Alertmanager."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import aiohttp
import pytest

from alerts.alert import Alert, Condition, Observation, Severity, Step, advance
from alerts.daemon import notifiers_of
from alerts.deliver import Resend, deliver
from alerts.heartbeat import watchdog
from alerts.notify.notification import Notification
from alerts.store.alert import write_steps
from collector.config import Config
from collector.sink import Alertmanager, Sinks
from tests.alerts.member import Member, member
from tests.alerts.scene import Scene, scene


class Stage:
    """Alerts in a real database, and two members that are told of them at a time that the test moves."""

    def __init__(self, on: Scene, session: aiohttp.ClientSession) -> None:
        self.on = on
        self.notifiers = notifiers_of(on.config, session, lambda: on.now)
        self.alerts: dict[str, Alert] = {}
        self.resends = self.lead()
        self.seconds = 0.0

    def lead(self) -> list[Resend]:
        """What a new leader knows: nothing."""
        self.resends = [Resend(self.on.database, notifier, notifier.resend_seconds or 0) for notifier in self.notifiers]
        return self.resends

    async def see(self, condition: Condition, severity: Severity = Severity.PAGE, name: str = "EngineDead") -> Step:
        """One evaluation of one alert."""
        alert = self.alerts.get(name) or Alert(labels={"alertname": name, "model": "llama"}, since=self.on.now)
        step = advance(alert, Observation(condition, "because", severity, 0.0), self.on.now)
        self.alerts[name] = step.alert
        async with self.on.database.transaction() as connection:
            await write_steps(connection, [step], self.on.config.sinks.all, self.on.now)
        return step

    async def deliver(self) -> None:
        """What is in the outbox."""
        for notifier in self.notifiers:
            while await deliver(self.on.database, notifier, lambda: self.on.now):
                pass

    async def pass_time(self, seconds: float, standing: Sequence[Notification] = ()) -> None:
        """Let time pass, and resend what is due."""
        self.on.now += timedelta(seconds=seconds)
        self.seconds += seconds
        for resend in self.resends:
            await resend.send_when_due(lambda: standing, lambda: self.on.now, self.seconds)


@pytest.fixture
async def am() -> AsyncIterator[Member]:
    async with member() as one:
        yield one


@pytest.fixture
async def other() -> AsyncIterator[Member]:
    async with member() as one:
        yield one


@pytest.fixture
async def stage(database: str, am: Member, other: Member) -> AsyncIterator[Stage]:
    members = (Alertmanager(name="am-0", url=am.url), Alertmanager(name="am-1", url=other.url))
    async with (
        scene(database, Config(sinks=Sinks(alertmanagers=members))) as on,
        aiohttp.ClientSession() as session,
    ):
        yield Stage(on, session)


def ends(am: Member, name: str = "EngineDead") -> list[datetime]:
    return [datetime.fromisoformat(alert["endsAt"]) for alert in am(name)]


async def test_what_fires_is_sent_every_minute_to_every_member_with_an_end_four_minutes_on(
    stage: Stage, am: Member, other: Member
) -> None:
    began = stage.on.now
    await stage.see(Condition.BREACH)
    await stage.deliver()
    for pause in (0, 59, 1, 59, 1):
        await stage.pass_time(pause)

    expected = [began + timedelta(seconds=seconds) for seconds in (240, 240, 300, 360)]
    assert expected == ends(am) == ends(other)
    assert 1 == len({alert["startsAt"] for alert in am("EngineDead")})


async def test_an_end_is_sent_for_five_minutes(stage: Stage, am: Member) -> None:
    await stage.see(Condition.BREACH)
    await stage.see(Condition.CLEAR)
    await stage.see(Condition.CLEAR)
    await stage.deliver()
    ended = stage.on.now
    for _ in range(10):
        await stage.pass_time(60)

    # Two from the outbox, firing and resolved; then after 1, 2, 3 and 4 minutes.
    assert [ended + timedelta(minutes=4)] + 5 * [ended] == ends(am)


async def test_a_ticket_that_rises_is_over_and_the_page_has_its_start(stage: Stage, am: Member) -> None:
    began = stage.on.now
    await stage.see(Condition.BREACH, Severity.TICKET)
    await stage.deliver()
    stage.on.now += timedelta(seconds=30)
    await stage.see(Condition.BREACH, Severity.PAGE)
    await stage.deliver()
    for _ in range(10):
        await stage.pass_time(60)

    rise = began + timedelta(seconds=30)
    tickets = [alert for alert in am("EngineDead") if alert["labels"]["severity"] == "ticket"]
    pages = [alert for alert in am("EngineDead") if alert["labels"]["severity"] == "page"]
    # The ticket's end with the page, then after 1, 2, 3 and 4 minutes.
    assert [began + timedelta(minutes=4)] + 5 * [rise] == [datetime.fromisoformat(alert["endsAt"]) for alert in tickets]
    assert 11 == len(pages)
    assert {began} == {datetime.fromisoformat(alert["startsAt"]) for alert in am("EngineDead")}


async def test_a_new_leader_sends_at_once(stage: Stage, am: Member) -> None:
    await stage.see(Condition.BREACH)
    await stage.deliver()
    await stage.pass_time(0)
    stage.lead()
    await stage.pass_time(1)

    assert 3 == len(am("EngineDead"))


async def test_a_sink_that_is_new_in_the_configuration_hears_of_what_fires(stage: Stage, am: Member) -> None:
    await stage.see(Condition.BREACH)
    await stage.on.execute("DELETE FROM outbox")
    await stage.pass_time(0)

    assert 1 == len(am("EngineDead"))


async def test_what_waits_in_the_outbox_is_not_overtaken(stage: Stage, am: Member, other: Member) -> None:
    am.status = 503
    await stage.see(Condition.BREACH)
    await stage.deliver()
    await stage.see(Condition.CLEAR)
    await stage.see(Condition.CLEAR)
    am.status = 200
    await stage.pass_time(0.5)

    assert [] == am.alerts
    await stage.pass_time(0.5)
    await stage.deliver()
    assert [stage.on.now + timedelta(minutes=4), stage.on.now - timedelta(seconds=1)] == ends(am)


async def test_one_alert_that_a_member_does_not_take_is_given_up_alone(stage: Stage, am: Member) -> None:
    await stage.see(Condition.BREACH)
    await stage.see(Condition.BREACH, name="bad")
    await stage.deliver()

    assert {"EngineDead"} == {alert["labels"]["alertname"] for alert in am.alerts}
    rows = await stage.on.execute(
        "SELECT payload -> 'labels' ->> 'alertname', delivered_at IS NOT NULL, failed_at IS NOT NULL, last_error "
        "FROM outbox WHERE sink = 'am-0' ORDER BY id"
    )
    assert [("EngineDead", True, False, None), ("bad", False, True, "HTTP 400")] == rows


async def test_a_member_in_trouble_is_sent_to_again_soon_and_the_other_is_not(stage: Stage, am: Member, other: Member) -> None:
    await stage.see(Condition.BREACH)
    await stage.deliver()
    am.status = 503
    for pause in (0, 0.9, 0.1, 1.9, 0.1):
        await stage.pass_time(pause)

    # One from the outbox each; then at 0, 1 and 3 s, or at 0 s alone.
    assert [4, 2] == [len(am.posts), len(other.posts)]


async def test_the_watchdog_fires_always(stage: Stage, am: Member) -> None:
    always = watchdog(stage.on.config, stage.on.now)
    await stage.pass_time(0, [always])
    await stage.pass_time(60, [always])

    assert [("none", always.starts_at + timedelta(minutes=4)), ("none", always.starts_at + timedelta(minutes=5))] == [
        (alert["labels"]["severity"], end) for alert, end in zip(am("Watchdog"), ends(am, "Watchdog"), strict=True)
    ]


async def test_nothing_is_sent_when_nothing_is_wrong(stage: Stage, am: Member) -> None:
    await stage.pass_time(0)

    assert [] == am.posts


async def test_a_watchdog_that_comes_late_does_not_wait_for_the_next_minute(stage: Stage, am: Member) -> None:
    await stage.pass_time(0)
    await stage.pass_time(1, [watchdog(stage.on.config, stage.on.now)])
    await stage.pass_time(1, [watchdog(stage.on.config, stage.on.now)])

    assert 1 == len(am("Watchdog"))
