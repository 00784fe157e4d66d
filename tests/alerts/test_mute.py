from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from alerts.alert import Alert, Flip, Notice, Severity, State, Step
from alerts.mute import Mute, parse_duration, parse_matchers
from alerts.store.alert import write_steps
from alerts.store.mute import add_mute, end_mute, read_firing, read_mutes
from collector.config import Config
from collector.sink import Alertmanager, Sinks, Webhook
from tests.alerts.member import member
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, config_of, scene

NOW = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def on(database: str, receiver: Receiver) -> AsyncIterator[Scene]:
    async with scene(database, config_of(receiver.url)) as one:
        yield one


class Burning:
    """One alert, as evaluations would flip it."""

    def __init__(self, on: Scene, model: str = "llama") -> None:
        self._on = on
        self._revision = 0
        self.alert = Alert(
            labels={"alertname": "SLOBurn", "model": model},
            since=on.now,
            state=State.FIRING,
            severity=Severity.PAGE,
            starts_at=on.now,
            annotations={"summary": "it burns"},
        )

    async def flip(self, status: str, summary: str = "it burns") -> None:
        state, ends_at = (State.FIRING, None) if status == "firing" else (State.RESOLVED, self._on.now)
        self.alert = Alert(
            labels=self.alert.labels,
            since=self._on.now,
            state=state,
            severity=Severity.PAGE,
            starts_at=self.alert.starts_at,
            ends_at=ends_at,
            annotations={"summary": summary},
        )
        assert self.alert.starts_at is not None
        notice = Notice(status, self.alert.starts_at, ends_at, self._revision)
        flip = Flip(self._on.now, State.INACTIVE, state, "because")
        async with self._on.database.transaction() as connection:
            await write_steps(connection, [Step(self.alert, (flip,), (notice,))], self._on.config.sinks.all, self._on.now)
        self._revision += 1


async def mute(on: Scene, hours: float = 1, **matchers: str) -> int:
    async with on.database.transaction() as connection:
        end = on.now + timedelta(hours=hours)
        return await add_mute(connection, matchers, author="ann", reason="known", now=on.now, expires_at=end)


async def unmute(on: Scene, id: int) -> bool:
    async with on.database.transaction() as connection:
        return await end_mute(connection, id, on.now)


async def later(on: Scene, minutes: float = 1) -> int:
    on.now += timedelta(minutes=minutes)
    return await on.deliver()


async def test_what_is_muted_is_recorded_and_not_told(on: Scene, receiver: Receiver) -> None:
    id = await mute(on, alertname="SLOBurn", model="llama")
    await Burning(on).flip("firing")
    await Burning(on, "mistral").flip("firing")

    assert 1 == await on.deliver()
    assert ["mistral"] == [alert["labels"]["model"] for alert in receiver.alerts]
    assert [(id, 0), (None, 1)] == await on.execute("SELECT muted_by, attempts FROM outbox ORDER BY id")


async def test_the_end_of_a_mute_sends_what_fires_still_once_and_as_it_is_now(on: Scene, receiver: Receiver) -> None:
    await mute(on, hours=1, alertname="SLOBurn")
    burning = Burning(on)
    await burning.flip("firing")
    await later(on)
    await burning.flip("firing", "it burns more")

    assert [0, 0, 1, 0] == [await later(on, minutes) for minutes in (1, 50, 10, 60)]
    assert [("firing", "it burns more")] == [(one["status"], one["annotations"]["summary"]) for one in receiver.alerts]
    await burning.flip("resolved")
    assert 1 == await later(on)
    assert [("SLOBurn", "firing"), ("SLOBurn", "resolved")] == receiver.told


async def test_somebody_may_end_it_before_its_time(on: Scene, receiver: Receiver) -> None:
    id = await mute(on, alertname="SLOBurn")
    await Burning(on).flip("firing")
    await later(on)

    assert [True, False] == [await unmute(on, id), await unmute(on, id)]
    assert 1 == await later(on)


async def test_nobody_hears_of_the_end_of_what_nobody_heard_of(on: Scene, receiver: Receiver) -> None:
    await mute(on, hours=1, alertname="SLOBurn")
    burning = Burning(on)
    await burning.flip("firing")
    await later(on)
    await burning.flip("resolved")

    assert [0, 0] == [await later(on), await later(on, 120)]
    assert [] == receiver.told
    assert [("muted, and over before the mute was",)] * 2 == await on.execute("SELECT last_error FROM outbox")


async def test_it_is_not_told_of_either_where_both_ended_between_two_looks(on: Scene, receiver: Receiver) -> None:
    await mute(on, hours=1, alertname="SLOBurn")
    burning = Burning(on)
    await burning.flip("firing")
    await on.deliver()
    on.now += timedelta(hours=1)
    await burning.flip("resolved")

    assert [0, 0] == [await on.deliver(), await later(on)]


async def test_the_end_of_what_was_told_before_the_mute_is_told(on: Scene, receiver: Receiver) -> None:
    burning = Burning(on)
    await burning.flip("firing")
    await on.deliver()
    await mute(on, alertname="SLOBurn")
    await burning.flip("firing", "it burns more")
    assert 0 == await later(on)
    await burning.flip("resolved")

    assert 1 == await later(on)
    assert [("SLOBurn", "firing"), ("SLOBurn", "resolved")] == receiver.told


async def test_what_waits_for_a_sink_that_is_down_can_be_muted(on: Scene, receiver: Receiver) -> None:
    receiver.status = 503
    await Burning(on).flip("firing")
    await on.deliver()
    await mute(on, hours=1, alertname="SLOBurn")
    receiver.status = 200

    assert [0, 1] == [await later(on), await later(on, 60)]


async def test_another_mute_goes_on_holding_it(on: Scene, receiver: Receiver) -> None:
    first = await mute(on, hours=5, model="llama")
    await Burning(on).flip("firing")
    await on.deliver()
    await mute(on, hours=1, alertname="SLOBurn")
    await unmute(on, first)

    assert [0, 1] == [await later(on), await later(on, 60)]


async def test_alertmanager_is_told_of_everything(database: str) -> None:
    async with member() as one, receiving() as hook:
        sinks = Sinks(webhooks=(Webhook(name="hook", url=hook.url),), alertmanagers=(Alertmanager(name="am", url=one.url),))
        async with scene(database, Config(sinks=sinks)) as on:
            await mute(on, alertname="SLOBurn")
            await Burning(on).flip("firing")
            await on.deliver()

        assert ([], ["SLOBurn"]) == (hook.told, [alert["labels"]["alertname"] for alert in one.alerts])


async def test_mutes_and_what_they_concern_can_be_read(on: Scene) -> None:
    await Burning(on).flip("firing")
    id = await mute(on, hours=1, model="llama")
    async with on.database.transaction() as connection:
        (one,) = await read_mutes(connection, on.now)
        assert [] == await read_mutes(connection, on.now + timedelta(hours=2))
        firing = [await read_firing(connection, {name: "llama"}) for name in ("model", "replica")]

    assert (id, {"model": "llama"}, "ann", "known") == one[:4]
    assert [["it burns"], []] == [[alert.summary for alert in found] for found in firing]


@pytest.mark.parametrize(("ended", "after", "state"), [(None, 0, "active"), (None, 60, "expired"), (10, 20, "ended")])
def test_a_mute_is_active_until_it_expires_or_is_ended(ended: int | None, after: int, state: str) -> None:
    ended_at = None if ended is None else NOW + timedelta(minutes=ended)
    mute = Mute(1, {"a": "b"}, "ann", "known", NOW, NOW + timedelta(hours=1), ended_at)

    assert state == mute.state(NOW + timedelta(minutes=after))


def test_matchers_are_names_and_values() -> None:
    assert {"alertname": "EngineDead", "model": "a=b"} == parse_matchers(["alertname=EngineDead", "model=a=b"])
    for texts, why in (
        (["x"], "'x' is not NAME=VALUE"),
        (["a="], "is not NAME=VALUE"),
        (["a=1", "a=2"], "has both a=1 and a=2"),
    ):
        with pytest.raises(ValueError, match=why):
            parse_matchers(texts)


@pytest.mark.parametrize(("text", "minutes"), [("30m", 30), ("1h30m", 90), ("7d", 10_080), ("90s", 1.5)])
def test_lengths_of_time_are_read(text: str, minutes: float) -> None:
    assert timedelta(minutes=minutes) == parse_duration(text)


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-1h", "0m", "31d", "1w", "9" * 30 + "d"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no length of time|is out of range"):
        parse_duration(text)
