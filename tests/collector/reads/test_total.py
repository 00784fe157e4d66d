"""Sums and quantiles equal those of the requests themselves, whatever they are read from."""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from psycopg import AsyncConnection

from collector.config import Retention
from collector.reads.level import By, Selection, one_snapshot, plan
from collector.reads.plan import NotKept, Period, Unit, slots
from collector.reads.quantile import quantiles
from collector.reads.total import totals
from collector.request import ObservedBy, Outcome, Request, TrafficClass
from collector.rollup import coarsen, roll
from collector.rollup.age import day_of
from collector.store.connection import Database
from collector.store.dictionary import Dictionary
from collector.store.request import RequestStore
from tests.collector.example import judged, now, request, rows
from tests.conftest import Databases

DAY = day_of(now()) - timedelta(days=4)
LATEST = DAY + timedelta(days=3, hours=10, minutes=17, seconds=30)
_RETENTION = Retention(rollup_minute_days=1)


def traffic() -> list[Request]:
    """Three days and ten hours of calls."""
    dice = random.Random(5)
    made = []
    for number in range(900):
        at = DAY + (LATEST - DAY) * dice.random()
        made.append(
            request(
                number,
                at,
                tenant=f"tenant-{dice.randrange(4)}",
                requested_model=f"model-{dice.randrange(3)}",
                replica=f"replica-{dice.randrange(3)}",
                outcome=dice.choice([Outcome.OK, Outcome.OK, Outcome.OK, Outcome.TIMEOUT, Outcome.CANCELLED]),
                observed_by=dice.choice([ObservedBy.GATEWAY, ObservedBy.GATEWAY, ObservedBy.GATEWAY, ObservedBy.CLIENT]),
                traffic_class=dice.choice([TrafficClass.INTERACTIVE] * 5 + [TrafficClass.SYNTHETIC]),
                ttft_seconds=dice.choice([None, dice.lognormvariate(-1, 1), 0.2]),
                cached_tokens=dice.choice([None, 0, 64]),
                output_tokens=dice.choice([None, 1, 50, 500]),
            )
        )
    return made


TRAFFIC = traffic()


def _is_late(one: Request) -> bool:
    """Whether a request comes when the rest was rolled up: some of every age."""
    return one.ended_at > LATEST - timedelta(hours=1) or one.trace_id[-1] % 40 == 0


async def _fill(conninfo: str) -> None:
    async with Database(conninfo, application="test") as database:
        store = RequestStore(database, Dictionary(database))
        await store.write(judged([one for one in TRAFFIC if not _is_late(one)]), now())
        for number in range(60):
            await roll(database, LATEST + timedelta(seconds=15 * number), _RETENTION)
            await coarsen(database, LATEST + timedelta(seconds=15 * number), _RETENTION)
        # What comes now is marked and not rolled up.
        await store.write(judged([one for one in TRAFFIC if _is_late(one)]), now())


@pytest.fixture(scope="module")
def filled(databases: Databases) -> Iterator[str]:
    """A database in which most of the traffic was rolled up."""
    with databases.fresh() as conninfo:
        asyncio.run(_fill(conninfo))
        yield conninfo


class Names(NamedTuple):
    """Ids of names, both ways."""

    ids: Mapping[str, int]
    names: Mapping[int, str]


@pytest.fixture
async def place(filled: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(filled, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


async def names_of(connection: AsyncConnection[Any], table: str) -> Names:
    pairs = await rows(connection, table, "name, id")
    return Names(dict(pairs), {id: name for name, id in pairs})


def counted(one: Request, period: Period) -> bool:
    return period.start <= one.ended_at < period.end and one.traffic_class is not TrafficClass.SYNTHETIC


def sums_of(requests: Sequence[Request]) -> tuple[int, ...]:
    return (
        len(requests),
        sum(one.input_tokens or 0 for one in requests),
        sum(one.cached_tokens or 0 for one in requests),
        sum(one.input_tokens or 0 for one in requests if one.cached_tokens is not None),
        sum(one.output_tokens or 0 for one in requests),
        sum(one.ttft_seconds is not None for one in requests),
    )


_PERIODS = {
    "everything": Period(DAY, DAY + timedelta(days=4)),
    "whole days": Period(DAY, DAY + timedelta(days=2)),
    "hours": Period(DAY + timedelta(hours=5), DAY + timedelta(days=2, hours=7)),
    "seconds": Period(DAY + timedelta(hours=5, seconds=11), LATEST - timedelta(minutes=3, seconds=7)),
    "the last hours": Period(LATEST - timedelta(hours=3), LATEST),
    "nothing": Period(DAY - timedelta(days=3), DAY),
}
_ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata")
_NAME = {By.TENANT: "tenants", By.MODEL: "models", By.REPLICA: "replicas"}
_FIELD: Mapping[By, Callable[[Request], object]] = {
    By.TENANT: lambda one: one.tenant,
    By.MODEL: lambda one: one.requested_model,
    By.REPLICA: lambda one: one.replica,
    By.OUTCOME: lambda one: int(one.outcome),
}


async def test_the_database_holds_every_grain_and_stale_ones_too(place: AsyncConnection[Any]) -> None:
    for table in ("rollup_minute", "rollup_hour", "rollup_day", "rollup_marks"):
        ((count,),) = await rows(place, table, "count(*)")
        assert count > 0


@pytest.mark.parametrize("zone", _ZONES)
@pytest.mark.parametrize("unit", [Unit.HOUR, Unit.DAY, Unit.MONTH])
@pytest.mark.parametrize("by", [(), (By.OUTCOME,), (By.TENANT, By.MODEL), (By.REPLICA,)], ids=str)
async def test_sums_equal_those_of_the_requests(place: AsyncConnection[Any], zone: str, unit: Unit, by: tuple[By, ...]) -> None:
    names = {one: (await names_of(place, _NAME[one])).names for one in by if one in _NAME}
    chosen = Selection(observed_by=ObservedBy.GATEWAY)
    for period in _PERIODS.values():
        cut = slots(period, unit, ZoneInfo(zone))
        groups: dict[tuple[object, ...], list[Request]] = defaultdict(list)
        for one in TRAFFIC:
            if counted(one, period) and one.observed_by is ObservedBy.GATEWAY:
                slot = next(slot for slot in cut if one.ended_at < slot.end)
                groups[(slot, *(_FIELD[dimension](one) for dimension in by))].append(one)
        async with one_snapshot(place):
            how = await plan(place, cut, chosen, by, now=LATEST, retention=_RETENTION)
            found = await totals(place, how, chosen, by)
        assert {key: sums_of(members) for key, members in groups.items()} == {
            (total.slot, *(names[one][id] if one in names else id for one, id in zip(by, total.key, strict=True))): (
                total.requests,
                total.input_tokens,
                total.cached_tokens,
                total.cacheable_tokens,
                total.output_tokens,
                total.rows_with_ttft,
            )
            for total in found
        }


@pytest.mark.parametrize(
    ("chosen", "by"),
    [
        ({"tenants": ["tenant-0", "tenant-2"]}, ()),
        ({"models": ["model-1"]}, (By.TENANT,)),
        ({"tenants": ["tenant-1"], "models": ["model-0", "model-2"]}, (By.OUTCOME,)),
        ({"replicas": ["replica-0"]}, ()),
        ({"replicas": ["replica-0", "replica-1"], "models": ["model-1"]}, (By.MODEL,)),
        ({"tenants": ["tenant-3"], "replicas": ["replica-2"]}, ()),
        ({"tenants": []}, ()),
    ],
    ids=str,
)
async def test_a_set_of_tenants_models_and_replicas_is_added_up(
    place: AsyncConnection[Any], chosen: dict[str, list[str]], by: tuple[By, ...]
) -> None:
    ids = {kind: [(await names_of(place, kind)).ids[name] for name in names] for kind, names in chosen.items()}
    selection = Selection(observed_by=ObservedBy.CLIENT, **ids)
    fields = {"tenants": By.TENANT, "models": By.MODEL, "replicas": By.REPLICA}
    period = _PERIODS["seconds"]
    members = [
        one
        for one in TRAFFIC
        if counted(one, period)
        and one.observed_by is ObservedBy.CLIENT
        and all(_FIELD[fields[kind]](one) in names for kind, names in chosen.items())
    ]
    async with one_snapshot(place):
        how = await plan(place, [period], selection, by, now=LATEST, retention=_RETENTION)
        found = await totals(place, how, selection, by)
    assert sums_of(members)[:2] == (sum(one.requests for one in found), sum(one.input_tokens for one in found))


@pytest.mark.parametrize("by", [(), (By.TENANT,), (By.MODEL,)], ids=str)
@pytest.mark.parametrize("quantity", ["ttft_seconds", "input_tokens"])
async def test_quantiles_are_within_two_percent_of_the_nearest_rank(
    place: AsyncConnection[Any], by: tuple[By, ...], quantity: str
) -> None:
    names = {one: (await names_of(place, _NAME[one])).names for one in by}
    chosen = Selection(observed_by=ObservedBy.GATEWAY)
    shares = (0.0, 0.5, 0.9, 0.99, 1.0)
    for period in _PERIODS.values():
        groups: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for one in TRAFFIC:
            value = getattr(one, quantity)
            if counted(one, period) and one.observed_by is ObservedBy.GATEWAY and value is not None:
                groups[tuple(_FIELD[dimension](one) for dimension in by)].append(value)
        async with one_snapshot(place):
            how = await plan(place, [period], chosen, by, now=LATEST, retention=_RETENTION, sketches=True)
            found = await quantiles(place, how, chosen, by, quantity, shares)
        assert {key: len(values) for key, values in groups.items()} == {
            tuple(names[one][id] for one, id in zip(by, each.key, strict=True)): each.rows for each in found
        }
        for each in found:
            values = sorted(groups[tuple(names[one][id] for one, id in zip(by, each.key, strict=True))])
            exact = [values[max(1, math.ceil(share * len(values))) - 1] for share in shares]
            assert pytest.approx(exact, rel=0.0201) == list(each.values)


async def test_what_is_read_is_as_coarse_as_can_be(place: AsyncConnection[Any]) -> None:
    chosen = Selection(observed_by=ObservedBy.GATEWAY)
    long_ago = Period(DAY - timedelta(days=60), DAY)
    how = await plan(place, [long_ago], chosen, (), now=LATEST, retention=_RETENTION)
    assert (1, ["day"]) == (len(how.pieces), how.grains)


async def test_what_rollups_do_not_keep_is_refused_where_rows_are_gone(place: AsyncConnection[Any]) -> None:
    both = Selection(observed_by=ObservedBy.GATEWAY, tenants=[2], replicas=[2])
    long_ago = Period(DAY - timedelta(days=200), DAY)
    with pytest.raises(NotKept, match="apart by replica"):
        await plan(place, [long_ago], both, (), now=LATEST, retention=_RETENTION)
