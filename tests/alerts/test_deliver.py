from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from alerts.alert import Alert, Flip, Notice, Severity, State, Step
from alerts.deliver import backoff_seconds
from alerts.store.alert import write_steps
from tests.alerts.receiver import Receiver, receiving
from tests.alerts.scene import Scene, config_of, scene


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def on(database: str, receiver: Receiver) -> AsyncIterator[Scene]:
    async with scene(database, config_of(receiver.url)) as one:
        yield one


async def put(on: Scene, *statuses: str, model: str = "llama", revision: int = 0) -> None:
    """Flips of one alert, with their notifications to every sink."""
    labels = {"alertname": "SLOBurn", "model": model}
    alert = Alert(labels=labels, since=on.now, severity=Severity.PAGE, starts_at=on.now, annotations={"summary": "it burns"})
    sinks = on.config.sinks.all
    async with on.database.transaction() as connection:
        for status in statuses:
            ends_at = on.now if status == "resolved" else None
            flip = Flip(on.now, State.INACTIVE, State.FIRING, "because")
            step = Step(alert, (flip,), (Notice(status, on.now, ends_at, revision),))
            await write_steps(connection, [step], sinks, on.now)


async def outbox(on: Scene, columns: str) -> list[tuple[object, ...]]:
    return await on.execute(f"SELECT {columns} FROM outbox ORDER BY id")


async def later(on: Scene, seconds: float) -> int:
    on.now += timedelta(seconds=seconds)
    return await on.deliver()


async def test_what_is_delivered_is_delivered_once(on: Scene, receiver: Receiver) -> None:
    await put(on, "firing")

    assert [1, 0] == [await on.deliver(), await later(on, 3600)]
    assert [("SLOBurn", "firing")] == receiver.told
    assert [(1, on.now - timedelta(hours=1), None)] == await outbox(on, "attempts, delivered_at, failed_at")


async def test_the_same_flip_written_twice_is_told_once(on: Scene, receiver: Receiver) -> None:
    await put(on, "firing")
    await put(on, "firing")

    assert 1 == await on.deliver()


async def test_another_revision_is_told_again(on: Scene, receiver: Receiver) -> None:
    await put(on, "firing")
    await put(on, "firing", revision=1)

    assert [1, 1] == [await on.deliver(), await on.deliver()]


async def test_a_sink_that_is_down_is_tried_with_growing_pauses_until_it_is_back(on: Scene, receiver: Receiver) -> None:
    receiver.status = 503
    await put(on, "firing")

    assert [1, 0, 1, 0, 1] == [await later(on, pause) for pause in (0, 0.9, 0.1, 1.9, 0.1)]
    assert [(3, "HTTP 503")] == await outbox(on, "attempts, last_error")
    receiver.status = 200
    assert [0, 1, 0] == [await later(on, pause) for pause in (3.9, 0.1, 3600)]
    assert [("SLOBurn", "firing")] == receiver.told


def test_pauses_double_up_to_a_minute() -> None:
    assert [1, 2, 4, 32, 60, 60] == [backoff_seconds(attempts) for attempts in (1, 2, 3, 6, 7, 5000)]


async def test_a_sink_that_asks_for_time_gets_it(on: Scene, receiver: Receiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "20"}
    await put(on, "firing")

    assert [1, 0, 1] == [await later(on, pause) for pause in (0, 19, 1)]


async def test_what_a_sink_refuses_is_given_up_and_does_not_hold_up_the_rest(on: Scene, receiver: Receiver) -> None:
    receiver.status = 400
    await put(on, "firing", "resolved")
    await on.deliver()
    receiver.status = 200

    assert [1, 0] == [await later(on, 60), await later(on, 3600)]
    assert [("SLOBurn", "resolved")] == receiver.told
    assert [("HTTP 400", True), (None, False)] == await outbox(on, "last_error, failed_at IS NOT NULL")


async def test_resolved_does_not_overtake_a_firing_that_must_be_tried_again(on: Scene, receiver: Receiver) -> None:
    receiver.status = 503
    await put(on, "firing", "resolved")
    await on.deliver()
    receiver.status = 200

    assert [0, 1, 1] == [await later(on, pause) for pause in (0.5, 0.5, 0)]
    assert [("SLOBurn", "firing"), ("SLOBurn", "resolved")] == receiver.told


async def test_alerts_of_one_group_are_one_message_and_those_of_two_are_two(on: Scene, receiver: Receiver) -> None:
    for model in ("llama", "mistral"):
        await put(on, "firing", model=model)

    assert 2 == await on.deliver()
    assert 2 == receiver.seen


async def test_two_who_deliver_at_once_share_the_work(on: Scene, receiver: Receiver) -> None:
    for number in range(40):
        await put(on, "firing", model=f"m-{number}")
    await asyncio.gather(*(on.deliver() for _ in range(4)))
    await on.deliver()

    assert 40 == len(receiver.alerts) == len({alert["fingerprint"] for alert in receiver.alerts})


async def test_who_dies_with_a_claim_loses_it_when_its_lease_ends(on: Scene, receiver: Receiver) -> None:
    receiver.answers.clear()
    await put(on, "firing")
    delivery = asyncio.ensure_future(on.deliver())
    await receiver.reached.wait()
    delivery.cancel()
    await asyncio.wait([delivery])
    receiver.answers.set()

    # The timeout of the sink, 2 s, and 10 s.
    assert [0, 1] == [await later(on, 11.9), await later(on, 0.1)]


async def test_a_sink_in_trouble_does_not_delay_another(database: str, receiver: Receiver) -> None:
    async with receiving() as other, scene(database, config_of(receiver.url, other.url)) as on:
        receiver.status = 500
        await put(on, "firing")
        await on.deliver()

        assert [] == receiver.told
        assert [("SLOBurn", "firing")] == other.told
