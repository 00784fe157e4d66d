"""The two forms of the suite: short with every test run, long with ``make chaos``. Seeds are random and printed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from random import Random, SystemRandom
from typing import NamedTuple

import pytest

from tests.chaos.postgres import Postgres, postgres
from tests.conftest import _Servers

Fault = Callable[..., Awaitable[None]]


class Form(NamedTuple):
    """How hard it is tried."""

    long: bool
    rounds: int
    """Seeds that each test is run with."""
    faults: int
    """Of one kind, one after the other, in a test."""
    seconds: float
    """Of load between two of them, about."""
    outage_seconds: float
    """How long one lasts; in the long form longer than anybody's patience."""


SHORT = Form(long=False, rounds=1, faults=2, seconds=0.5, outage_seconds=0.7)
LONG = Form(long=True, rounds=2, faults=4, seconds=2.0, outage_seconds=12.0)
FORM = LONG if os.environ.get("CHAOS_FORM") == "long" else SHORT


def each(*faults: Fault, long: Sequence[Fault] = ()) -> pytest.MarkDecorator:
    """Faults for a test: in the short form one after the other, in the long form each by itself and several times.

    :param long: faults that only the long form has the time for
    """
    if not FORM.long:
        return pytest.mark.parametrize("faults", [faults], ids=["all"])
    cases = [[fault] * FORM.faults for fault in (*faults, *long)]
    return pytest.mark.parametrize("faults", cases, ids=[fault.__name__ for fault in (*faults, *long)])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "random" in metafunc.fixturenames:
        given = os.environ.get("CHAOS_SEED")
        seeds = [int(given)] if given else [SystemRandom().randrange(2**32) for _ in range(FORM.rounds)]
        metafunc.parametrize("random", seeds, indirect=True, ids=[f"round-{number}" for number in range(len(seeds))])


@pytest.fixture
def random(request: pytest.FixtureRequest) -> Random:
    """The chance of this round. CHAOS_SEED repeats one."""
    print(f"CHAOS_SEED={request.param}")
    return Random(request.param)


@pytest.fixture
def form() -> Form:
    """How hard it is tried."""
    return FORM


@pytest.fixture
def chaos_database(servers: _Servers) -> Iterator[str]:
    """As ``database``, on a server that nobody else uses."""
    with servers.databases("chaos").fresh() as conninfo:
        yield conninfo


@pytest.fixture
async def server(servers: _Servers, chaos_database: str) -> AsyncIterator[Postgres]:
    """The server of ``chaos_database``, as at the beginning when the test is over."""
    async with postgres(servers.databases("chaos").server) as one:
        yield one
