from __future__ import annotations

from datetime import UTC, datetime, timedelta

from collector.replica import ReplicaState
from collector.sample import Health
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.fleet import FleetStore
from collector.store.roster import RosterStore

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_collectors_that_said_so_lately_live(connected: Database) -> None:
    fleet = FleetStore(connected, Dictionary(connected))
    for name, age in (("a:1", 1), ("b:2", 14), ("c:3", 16)):
        await fleet.write_heartbeat(name, "1", NOW, NOW - timedelta(seconds=age), None)
    assert ["a:1", "b:2"] == list(await RosterStore(connected).collectors(NOW))


async def test_a_replica_that_has_gone_is_marked_once(connected: Database) -> None:
    state = ReplicaState(
        replica="vllm-0", url="http://a:1", environment="p", cluster="c", model="m", health_since=NOW, checked_at=NOW
    )
    await FleetStore(connected, Dictionary(connected)).write(state, (), ())
    for seconds in (1, 2):
        await RosterStore(connected).forget("vllm-0", NOW + timedelta(seconds=seconds))
    await RosterStore(connected).forget("never-heard-of", NOW)
    async with connected.transaction() as connection:
        states = await (await connection.execute("SELECT health, health_since FROM replica_states")).fetchall()
        events = await (await connection.execute("SELECT kind, at FROM events")).fetchall()
    assert [(Health.GONE, NOW + timedelta(seconds=1))] == states
    assert [("target_gone", NOW + timedelta(seconds=1))] == events
