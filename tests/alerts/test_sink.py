from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from alerts.alert import Severity
from alerts.sink import Trouble, find_failing_sinks
from collector.config import Config
from collector.request import Outcome
from collector.sink import Sinks, Webhook
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, config_of, scene

NOW = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)
CONFIG = Config(sinks=Sinks(webhooks=(Webhook(name="pager", url="http://a"),)))


def trouble(minutes: float = 6, **changes: object) -> Trouble:
    usual = Trouble("pager", NOW - timedelta(minutes=minutes), 3, 0, True, "HTTP 503")
    return usual._replace(**changes)  # type: ignore[arg-type]  # a test names its own fields


@pytest.mark.parametrize(
    ("one", "severity"),
    [
        (trouble(), Severity.PAGE),
        (trouble(pages=False), Severity.TICKET),
        (trouble(minutes=4.9), None),
        (trouble(minutes=0, waiting=0, refused=1), Severity.PAGE),
        (trouble(sink="taken away since"), None),
    ],
)
def test_a_sink_fails_when_it_takes_nothing_for_long_or_refuses(one: Trouble, severity: Severity | None) -> None:
    found = list(find_failing_sinks([one], CONFIG, NOW))

    assert [severity] * (severity is not None) == [finding.observation.severity for finding in found]


def test_it_says_what_waits_and_what_was_the_answer() -> None:
    (found,) = find_failing_sinks([trouble(refused=2)], CONFIG, NOW)

    assert "pager cannot be told since 03:06:07 UTC: HTTP 503" == found.text.summary
    assert "3 notifications wait for it and are tried again; 2 were refused, and reached nobody by it." == found.text.facts[1]


@pytest.fixture
async def sinks() -> AsyncIterator[tuple[Receiver, Receiver]]:
    async with receiving() as dead, receiving() as alive:
        yield dead, alive


async def burn(on: Scene) -> None:
    """An alert that is told, with all its requests failing from now on."""
    await on.serve(seconds=60)
    await on.begin()
    await on.pass_time(30, Outcome.SERVER_ERROR)
    await on.deliver()


async def after(on: Scene, minutes: float) -> None:
    """Some minutes in which a sink is tried again and again, and an evaluation at their end."""
    for _ in range(int(minutes)):
        on.now += timedelta(minutes=1)
        await on.deliver()
    await on.pass_time(1, None)
    await on.deliver()


def names(receiver: Receiver) -> list[tuple[str, str]]:
    return [told for told in receiver.told if told[0] == "SinkFailing"]


async def test_a_dead_sink_is_told_of_through_the_others_until_it_is_back(
    database: str, sinks: tuple[Receiver, Receiver]
) -> None:
    dead, alive = sinks
    dead.status = 503
    async with scene(database, config_of(dead.url, alive.url)) as on:
        await burn(on)
        await after(on, 3)
        assert [] == names(alive)
        await after(on, 3)
        assert [("SinkFailing", "firing")] == names(alive)
        dead.status = 200
        await after(on, 2)
        assert ("SLOBurn", "firing") in dead.told
        await on.pass_time(30, None)
        await on.deliver()

    assert [("SinkFailing", "firing"), ("SinkFailing", "resolved")] == names(alive)
    assert [] == names(dead)


async def test_a_sink_that_refuses_is_told_of_at_once_until_it_takes_something(
    database: str, sinks: tuple[Receiver, Receiver]
) -> None:
    refusing, alive = sinks
    refusing.status = 404
    async with scene(database, config_of(refusing.url, alive.url)) as on:
        await burn(on)
        await after(on, 1)
        assert [("SinkFailing", "firing")] == names(alive)
        assert (
            "HTTP 404"
            in next(one for one in alive.alerts if one["labels"]["alertname"] == "SinkFailing")["annotations"]["summary"]
        )
        # Something else is taken.
        refusing.status = 200
        await on.execute(
            "INSERT INTO outbox (fingerprint, starts_at, revision, status, sink, payload, created_at, attempts, "
            "next_attempt_at) "
            "SELECT 'other', starts_at, 9, status, sink, payload, created_at, 0, %s FROM outbox WHERE sink = 'hook-0' LIMIT 1",
            (on.now,),
        )
        await on.deliver()
        await on.pass_time(30, None)
        await on.deliver()

    assert [("SinkFailing", "firing"), ("SinkFailing", "resolved")] == names(alive)


async def test_what_is_muted_is_no_trouble_of_the_sink(database: str, sinks: tuple[Receiver, Receiver]) -> None:
    hook, alive = sinks
    async with scene(database, config_of(hook.url, alive.url)) as on:
        await on.execute(
            "INSERT INTO mutes (matchers, author, reason, created_at, expires_at) "
            "VALUES ('{\"alertname\": \"SLOBurn\"}', 'a', 'b', %s, %s)",
            (on.now, on.now + timedelta(hours=9)),
        )
        await burn(on)
        await after(on, 10)

    assert [] == names(alive)
    assert ("SLOBurn", "firing") not in hook.told
