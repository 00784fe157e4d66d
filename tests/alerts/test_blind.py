from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import blind
from alerts.blind import BLIND_SECONDS, HOLD_SECONDS, Blindness, Sight, advance, keep_telling, notification
from alerts.notify.notification import Answer, Delivered, Notification, Refused, Retry
from collector.config import Config

START = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)


def look(postgres: Sequence[bool]) -> Iterator[tuple[int, Blindness]]:
    """One alerter: each second it tries, then looks. Yields the second and the state."""
    state, sight = Blindness(), Sight(answered=0.0)
    for second, answers in enumerate(postgres, start=1):
        if answers:
            sight.answered = float(second)
        else:
            sight.failed = float(second)
        state = advance(state, sight, START + timedelta(seconds=second), float(second))
        yield second, state


def changes(postgres: Sequence[bool]) -> list[tuple[int, bool]]:
    """When it began to fire, and when that was over."""
    states = [(0, Blindness()), *look(postgres)]
    return [(second, state.active) for (_, before), (second, state) in pairwise(states) if state.active != before.active]


def test_thirty_seconds_without_an_answer_fire_and_ten_with_answers_resolve() -> None:
    assert [(40, True), (70, False)] == changes(10 * [True] + 50 * [False] + 20 * [True])


def test_a_short_outage_is_nobodys_business() -> None:
    assert [] == changes(10 * [True] + 29 * [False] + 20 * [True])


def test_postgres_that_comes_and_goes_is_one_outage_until_it_stays() -> None:
    flapping = 10 * (9 * [True] + 25 * [False])

    assert [(30, True), (30 + 340 + 10, False)] == changes(30 * [False] + flapping + 20 * [True])


def test_an_alerter_that_never_had_postgres_says_so_too() -> None:
    assert [(30, True)] == changes(40 * [False])


def test_an_attempt_that_hangs_is_no_answer() -> None:
    sight = Sight(answered=0.0)
    assert not advance(Blindness(), sight, START, BLIND_SECONDS - 0.1).active
    blindness = advance(Blindness(), sight, START, BLIND_SECONDS)
    assert blindness.active
    # The first answer after it is no proof yet.
    sight.answered = BLIND_SECONDS + 1
    assert advance(blindness, sight, START, BLIND_SECONDS + 1).active
    sight.answered = BLIND_SECONDS + HOLD_SECONDS
    assert not advance(blindness, sight, START, BLIND_SECONDS + HOLD_SECONDS).active


def test_an_outage_within_ten_minutes_of_the_last_is_the_same_alert_and_one_later_another() -> None:
    for pause, same in ((500, True), (700, False)):
        states = [state for _, state in look(40 * [False] + pause * [True] + 40 * [False])]
        (first,) = {state.starts_at for state in states[29:45]}
        assert same == (first == states[-1].starts_at)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 90)), max_size=20))
def test_every_sequence_keeps_the_promises(segments: list[tuple[bool, int]]) -> None:
    postgres = [answers for answers, seconds in segments for _ in range(seconds)]
    before = Blindness()
    for second, state in look(postgres):
        silent = second >= BLIND_SECONDS and not any(postgres[second - 30 : second])
        good = second >= HOLD_SECONDS and all(postgres[second - 10 : second])
        if state.active and not before.active:
            assert silent
            assert state.starts_at is not None
            assert 0 == state.starts_at.second
        if silent:
            assert state.active
        if before.active and not state.active:
            assert good
            assert state.ends_at is not None
            assert state.starts_at is not None
            assert state.ends_at >= state.starts_at
        if before.active and state.active:
            assert before.starts_at == state.starts_at
        if before.active and good:
            assert not state.active
        before = state


@given(st.lists(st.floats(0, 3), min_size=2, max_size=5))
def test_all_alerters_tell_of_the_same_alert(delays: list[float]) -> None:
    """They notice within seconds of each other, in the same minute."""
    told = set()
    for delay in delays:
        sight, at = Sight(answered=delay), delay + BLIND_SECONDS + 0.5
        one = notification(advance(Blindness(), sight, START + timedelta(seconds=at), at), Config(), "host")
        told.add((one.fingerprint, tuple(one.labels.items()), one.starts_at))

    assert 1 == len(told)


def test_a_page_says_what_is_wrong() -> None:
    state = advance(Blindness(), Sight(answered=0.0), START, BLIND_SECONDS)
    told = notification(state, Config(cluster="east"), "alerter-1")

    assert {
        "alertname": "MonitoringBlind",
        "cause": "postgres",
        "cluster": "east",
        "environment": "production",
        "severity": "page",
    } == told.labels
    assert "monitoring is blind since 03:11:00 UTC: Postgres does not answer" == told.annotations["summary"]
    assert "alerter-1" in told.annotations["description"]


class Listener:
    """A sink in memory: gives its answers in order, the last one for ever."""

    name = "listener"
    timeout_seconds = 1.0

    def __init__(self, *answers: Answer, resend_seconds: float | None = None) -> None:
        self.resend_seconds = resend_seconds
        self.told: list[str] = []
        self._answers = list(answers) or [Delivered()]

    def messages(self, notifications: Sequence[Notification]) -> list[list[Notification]]:
        return [list(notifications)]

    async def send(self, message: Sequence[Notification]) -> Answer:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.told.append(f"{message[0].status} {type(answer).__name__}")
        return answer

    async def heard(self, number: int) -> list[str]:
        """What it was told, once it was told so often."""
        async with asyncio.timeout(60):
            while len(self.told) < number:  # noqa: ASYNC110 - a sink is told by another task, without an event
                await asyncio.sleep(0.001)
        return self.told


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "wait_seconds", lambda answer, attempts: 0.001)


@contextmanager
def telling(listener: Listener) -> Iterator[asyncio.Queue[Notification]]:
    queue = asyncio.Queue[Notification]()
    task = asyncio.create_task(keep_telling(listener, queue))
    try:
        yield queue
    finally:
        task.cancel()


def flip(active: bool) -> Notification:
    return notification(Blindness(active=active, starts_at=START, ends_at=None if active else START), Config(), "host")


async def test_a_sink_that_is_down_is_told_both_flips_in_order_when_it_is_back() -> None:
    listener = Listener(Retry("HTTP 503"), Retry("HTTP 503"), Delivered())
    with telling(listener) as queue:
        queue.put_nowait(flip(True))
        queue.put_nowait(flip(False))
        assert ["firing Retry", "firing Retry", "firing Delivered", "resolved Delivered"] == await listener.heard(4)


async def test_a_sink_that_forgets_is_told_again_until_its_end_is_five_minutes_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "RESOLVED_RESENT", timedelta(seconds=0.03))
    listener = Listener(resend_seconds=0.01)
    with telling(listener) as queue:
        queue.put_nowait(flip(True))
        await listener.heard(5)
        firing = len(listener.told)
        queue.put_nowait(flip(False))
        await listener.heard(firing + 4)
        await asyncio.sleep(0.05)

    assert {"firing Delivered"} == set(listener.told[:firing])
    # The end, and three times again.
    assert 4 == listener.told.count("resolved Delivered")


async def test_a_refusal_is_not_repeated_and_does_not_hold_up_the_end() -> None:
    listener = Listener(Refused("HTTP 404"), Delivered())
    with telling(listener) as queue:
        queue.put_nowait(flip(True))
        queue.put_nowait(flip(False))
        assert ["firing Refused", "resolved Delivered"] == await listener.heard(2)
