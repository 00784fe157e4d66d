from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from collector.discover.group import Found
from collector.discover.roster import Roster
from collector.discover.source import SourceFailed
from collector.errors import StoreUnavailable
from collector.target import Target

STATIC = Target(url="http://static:1")


class Told:
    """A source that says what it is told to say."""

    name = "told"
    refresh_seconds = 1.0

    def __init__(self, *targets: Target) -> None:
        self.targets: Sequence[Target] | None = targets

    async def find(self) -> Found:
        if self.targets is None:
            raise SourceFailed("away")
        return Found(tuple(self.targets), ())


class Fleet:
    """Remembers which targets are watched, and which were forgotten."""

    def __init__(self) -> None:
        self.watching: list[str] = []
        self.started: list[str] = []
        self.forgotten: list[str] = []
        self.both = asyncio.Event()
        self.deploys: list[tuple[str, str, str | None]] = []
        self.away = False

    async def watch(self, target: Target) -> None:
        self.watching.append(target.replica_name)
        self.started.append(target.replica_name)
        if len(self.watching) == 2:
            self.both.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.watching.remove(target.replica_name)

    async def forget(self, target: Target) -> None:
        self.forgotten.append(target.replica_name)

    async def deployed(self, target: Target, before: str) -> None:
        if self.away:
            raise StoreUnavailable("away", 1)
        self.deploys.append((target.replica_name, before, target.revision))


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def roster_of(fleet: Fleet, *static: Target, own: Sequence[str] = (), me: str = "") -> Roster:
    return Roster(static, fleet.watch, fleet.forget, fleet.deployed, own=own, me=me)


async def settled(fleet: Fleet) -> list[str]:
    await asyncio.sleep(0)
    return sorted(fleet.watching)


async def test_found_targets_are_watched_beside_static_ones_and_only_once(fleet: Fleet) -> None:
    roster, source = roster_of(fleet, STATIC), Told(Target(url="http://a:1"), Target(url="http://static:1"))
    for _ in range(3):
        await roster.ask(source)
    assert ["a:1", "static:1"] == await settled(fleet)
    assert 2 == len(fleet.started)


async def test_a_target_that_is_no_longer_named_is_forgotten(fleet: Fleet) -> None:
    roster, source = roster_of(fleet, STATIC), Told(Target(url="http://a:1"))
    await roster.ask(source)
    source.targets = ()
    await roster.ask(source)
    assert (["static:1"], ["a:1"]) == (await settled(fleet), fleet.forgotten)


async def test_a_source_that_fails_keeps_what_it_last_said(fleet: Fleet) -> None:
    roster, source = roster_of(fleet), Told(Target(url="http://a:1"))
    await roster.ask(source)
    await asyncio.sleep(0)
    source.targets = None
    await roster.ask(source)
    assert (["a:1"], []) == (await settled(fleet), fleet.forgotten)


async def test_a_replica_that_moves_is_watched_at_its_new_address_and_not_forgotten(fleet: Fleet) -> None:
    roster, source = roster_of(fleet), Told(Target(url="http://10.0.0.1:1", replica="vllm-0"))
    await roster.ask(source)
    await asyncio.sleep(0)
    source.targets = (Target(url="http://10.0.0.2:1", replica="vllm-0"),)
    await roster.ask(source)
    assert (["vllm-0"], []) == (await settled(fleet), fleet.forgotten)
    assert ["http://10.0.0.2:1"] == [target.url for target in roster.watched]


async def test_of_two_targets_that_claim_one_replica_the_first_has_it(fleet: Fleet) -> None:
    roster = roster_of(fleet)
    await roster.ask(Told(Target(url="http://a:1", replica="r"), Target(url="http://b:1", replica="r")))
    await asyncio.sleep(0)
    assert ["http://a:1"] == [target.url for target in roster.watched]


async def test_our_own_address_is_no_target(fleet: Fleet) -> None:
    roster = roster_of(fleet, own=("127.0.0.1:9464",))
    await roster.ask(Told(Target(url="http://127.0.0.1:9464"), Target(url="http://a:1")))
    assert ["a:1"] == await settled(fleet)


async def test_collectors_share_the_targets_and_take_over_those_of_one_that_goes() -> None:
    targets = [Target(url=f"http://10.0.0.{number}:8000") for number in range(20)]
    fleets = {name: Fleet() for name in ("a", "b", "c")}
    rosters = {name: roster_of(fleet, *targets, me=name) for name, fleet in fleets.items()}
    for roster in rosters.values():
        await roster.share(["a", "b", "c"])
    watched = [name for fleet in fleets.values() for name in await settled(fleet)]
    assert sorted(target.replica_name for target in targets) == sorted(watched)

    for name in ("a", "b"):
        await rosters[name].share(["a", "b"])
    watched = [name for one in ("a", "b") for name in await settled(fleets[one])]
    assert sorted(target.replica_name for target in targets) == sorted(watched)
    # What another collector watches now has not gone.
    assert [] == fleets["a"].forgotten + fleets["b"].forgotten


async def test_every_watch_ends_with_the_roster(fleet: Fleet) -> None:
    roster = roster_of(fleet, STATIC)
    running = asyncio.ensure_future(roster.run([Told(Target(url="http://a:1"))], None, share_seconds=1))
    async with asyncio.timeout(5):
        await fleet.both.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [] == await settled(fleet)


async def test_another_revision_of_a_replica_is_a_deploy_and_is_told_when_it_can_be_kept(fleet: Fleet) -> None:
    roster, source = roster_of(fleet), Told(Target(url="http://a:1", replica="vllm-0", revision="r1"))
    await roster.ask(source)
    fleet.away = True
    source.targets = (Target(url="http://b:1", replica="vllm-0", revision="r2"),)
    await roster.ask(source)
    fleet.away = False
    await roster.ask(source)
    await roster.ask(source)
    assert [("vllm-0", "r1", "r2")] == fleet.deploys
