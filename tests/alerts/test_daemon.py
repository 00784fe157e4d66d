from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

import psycopg
import pytest
from prometheus_client import REGISTRY

from alerts import blind, daemon, deliver
from alerts.daemon import Vitals, run
from alerts.evaluate import Evaluator
from collector.clock import utc_now
from collector.config import Config
from collector.errors import ConfigError
from collector.request import Outcome
from collector.sink import Alertmanager, Alerts, Sinks, Slack
from collector.store.connection import Database
from tests.alerts.gate import gate
from tests.alerts.member import member
from tests.alerts.receiver import receiving
from tests.alerts.scene import config_of, scene, terminate


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same loops, at a pace that suits a test."""
    monkeypatch.setattr(daemon, "EVALUATE_SECONDS", 0.02)
    monkeypatch.setattr(daemon, "STANDBY_SECONDS", 0.02)
    monkeypatch.setattr(deliver, "POLL_SECONDS", 0.02)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that other tasks do."""
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110 - what it waits for is not told by an event
            await asyncio.sleep(0.01)


def evaluated_after(time: datetime, *alerters: Vitals) -> Callable[[], bool]:
    """Whether one of them has evaluated since."""
    return lambda: any(one.evaluated_at is not None and one.evaluated_at > time for one in alerters)


@asynccontextmanager
async def alerter(config: Config, conninfo: str, *, now: Callable[[], datetime] = utc_now) -> AsyncIterator[Vitals]:
    """An alerter that runs until the block ends."""
    vitals, stop = Vitals(), asyncio.Event()
    async with Database(conninfo, application="test") as database:
        task = asyncio.ensure_future(run(config, database, stop, vitals=vitals, now=now))
        try:
            yield vitals
        finally:
            stop.set()
            await task


async def leaders(conninfo: str) -> list[int]:
    """Processes of the server that hold the lock."""
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        cursor = await connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [int(pid) for (pid,) in await cursor.fetchall()]


async def test_one_of_two_leads_and_the_other_takes_over_without_telling_anybody_again(database: str) -> None:
    async with receiving() as receiver:
        config = config_of(receiver.url)
        async with alerter(config, database) as first, alerter(config, database) as second:
            await until(lambda: first.leading or second.leading)
            (leader,) = await leaders(database)
            async with scene(database, config) as on:
                await on.serve(Outcome.SERVER_ERROR, seconds=60)
            await until(lambda: bool(receiver.told))
            assert [False, True] == sorted([first.leading, second.leading])

            await terminate(database, leader)
            while (await leaders(database)) in ([], [leader]):
                pass
            # Two evaluations from now on: what the new leader reads and delivers first is then done.
            await until(evaluated_after(datetime.now(UTC), first, second))
            await until(evaluated_after(datetime.now(UTC), first, second))
            assert 1 == len(await leaders(database))

        assert [("SLOBurn", "firing")] == receiver.told


async def test_the_follower_leads_when_the_leader_stops(database: str) -> None:
    async with alerter(Config(), database) as follower:
        await until(lambda: follower.leading)
    async with alerter(Config(), database) as second:
        async with alerter(Config(), database) as first:
            await until(lambda: first.leading or second.leading)
            await until(lambda: first.postgres_ok and second.postgres_ok)
        await until(lambda: second.leading)


async def test_a_sink_that_hangs_does_not_stop_evaluation(database: str) -> None:
    async with receiving() as receiver:
        receiver.answers.clear()
        config = config_of(receiver.url)
        async with alerter(config, database) as vitals:
            await until(lambda: vitals.leading)
            async with scene(database, config) as on:
                await on.serve(Outcome.SERVER_ERROR, seconds=60)
            await receiver.reached.wait()
            before = vitals.evaluated_at
            await until(lambda: before is not None and vitals.evaluated_at is not None and vitals.evaluated_at > before)
            receiver.answers.set()
            await until(lambda: receiver.told == [("SLOBurn", "firing")])


async def test_an_unexpected_error_is_counted_and_evaluation_goes_on(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tick, calls = Evaluator.tick, []

    async def fail_once(self: Evaluator, now: datetime) -> bool:
        calls.append(now)
        if len(calls) == 1:
            raise RuntimeError("unexpected")
        return await tick(self, now)

    monkeypatch.setattr(Evaluator, "tick", fail_once)
    before = errors()
    async with alerter(Config(), database) as vitals:
        await until(lambda: vitals.evaluated_at is not None)

    assert before + 1 == errors()


def errors() -> float:
    return REGISTRY.get_sample_value("llm_slo_loop_errors_total", {"loop": "evaluate"}) or 0.0


async def test_an_alerter_waits_for_a_database_that_is_not_there() -> None:
    vitals, stop = Vitals(), asyncio.Event()
    # Not opened: a pool that nobody uses. Leadership has a connection of its own.
    database = Database("host=127.0.0.1 port=1 connect_timeout=1", application="test")
    task = asyncio.ensure_future(run(Config(), database, stop, vitals=vitals))
    await asyncio.sleep(0)
    stop.set()
    await task

    assert Vitals(leading=False, evaluated_at=None, postgres_ok=False) == vitals


async def test_a_clock_that_was_set_pages_nobody_and_hides_nothing(database: str) -> None:
    ahead = timedelta(hours=1)

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    async with receiving() as receiver, scene(database, config_of(receiver.url)) as on:
        await on.collector_lives()
        async with alerter(on.config, database, now=now) as vitals:
            await until(lambda: vitals.leading)
            ahead = timedelta()
            await on.serve(Outcome.SERVER_ERROR, seconds=60)
            await until(lambda: bool(receiver.told))
            ahead = timedelta(hours=1)
            await until(evaluated_after(now(), vitals))
            await until(evaluated_after(now(), vitals))

        assert [("SLOBurn", "firing")] == receiver.told


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "BLIND_SECONDS", 0.5)
    monkeypatch.setattr(blind, "HOLD_SECONDS", 0.3)
    monkeypatch.setattr(blind, "LOOK_SECONDS", 0.02)


@pytest.mark.usefixtures("_soon")
async def test_without_postgres_the_sinks_are_told_that_monitoring_is_blind_and_when_it_sees_again(database: str) -> None:
    async with receiving() as receiver, gate(database) as way, alerter(config_of(receiver.url), way.conninfo) as vitals:
        await until(lambda: vitals.leading)
        await way.shut()
        await until(lambda: receiver.told == [("MonitoringBlind", "firing")])
        assert not vitals.leading
        await way.open()
        await until(lambda: len(receiver.told) == 2)

        assert ("MonitoringBlind", "resolved") == receiver.told[1]
        assert vitals.leading
        firing, resolved = receiver.alerts
        assert ("page", "postgres") == (firing["labels"]["severity"], firing["labels"]["cause"])
        assert [firing[name] for name in ("fingerprint", "startsAt")] == [
            resolved[name] for name in ("fingerprint", "startsAt")
        ]


@pytest.mark.usefixtures("_soon")
async def test_an_evaluation_that_breaks_every_time_is_blindness_too(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: Evaluator, now: datetime) -> bool:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(Evaluator, "tick", fail)
    async with receiving() as receiver, alerter(config_of(receiver.url), database):
        await until(lambda: bool(receiver.alerts))

        assert "evaluation" == receiver.alerts[0]["labels"]["cause"]


async def test_a_collector_gets_time_to_say_that_it_lives_when_postgres_is_back(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_AWAY_SECONDS", 0.1)
    # Time that jumps stands for time that passes here.
    monkeypatch.setattr(daemon, "CLOCK_SET_SECONDS", inf)
    ahead = timedelta()

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    async with scene(database, Config()) as on, gate(database) as way:
        await on.collector_lives()
        async with alerter(Config(), way.conninfo, now=now) as vitals:
            await until(lambda: vitals.leading)
            await way.shut()
            await until(lambda: not vitals.postgres_ok)
            await asyncio.sleep(0.2)
            ahead = timedelta(minutes=5)
            await way.open()
            # Two evaluations each: the first may have begun before the clock was moved.
            await until(evaluated_after(now(), vitals))
            await until(evaluated_after(now(), vitals))
            assert [] == await on.flips()

            ahead = timedelta(minutes=6)
            await until(evaluated_after(now(), vitals))
            await until(evaluated_after(now(), vitals))
            assert [("MonitoringBlind", "inactive", "firing")] == await on.flips()


@pytest.mark.parametrize(("wanted", "names"), [(True, ["Watchdog"]), (False, [])])
async def test_an_alertmanager_hears_the_watchdog_unless_it_is_not_wanted(
    database: str, wanted: bool, names: list[str]
) -> None:
    async with member() as am:
        sinks = Sinks(alertmanagers=(Alertmanager(name="am-0", url=am.url),))
        async with alerter(Config(sinks=sinks, alerts=Alerts(watchdog=wanted)), database) as vitals:
            await until(lambda: vitals.evaluated_at is not None)
            await until(lambda: bool(am.posts) or not wanted)

    assert names == [alert["labels"]["alertname"] for alert in am.alerts]


async def test_a_wrong_slo_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "slos.yaml"
    path.write_text("slos: [{name: a, sli: availability, target: 50}]")

    with pytest.raises(ConfigError, match="can never page"):
        await run(Config(slos=path), Database("", application="test"), asyncio.Event())


async def test_a_secret_that_cannot_be_read_stops_the_start(database: str, tmp_path: Path) -> None:
    config = Config(sinks=Sinks(slack=(Slack(name="chat", url_file=tmp_path / "gone"),)))
    async with Database(database, application="test") as one:
        with pytest.raises(ConfigError, match=r"sinks.slack \(chat\): url_file: .*gone cannot be read"):
            await run(config, one, asyncio.Event())
