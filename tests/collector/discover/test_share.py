from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from collector.discover.share import owner_of

NAMES = st.sets(st.text("abcdef:0123456789", min_size=1, max_size=12), min_size=1, max_size=8)


@given(st.text(min_size=1), NAMES, st.randoms())
def test_every_collector_comes_to_the_same_owner(target: str, collectors: set[str], random: Random) -> None:
    order = sorted(collectors)
    random.shuffle(order)
    assert owner_of(target, collectors) == owner_of(target, order)
    assert owner_of(target, order) in collectors


@given(st.text(min_size=1), NAMES)
def test_only_targets_of_a_collector_that_goes_move(target: str, collectors: set[str]) -> None:
    owner = owner_of(target, collectors)
    for gone in collectors - {owner}:
        assert owner == owner_of(target, collectors - {gone})


def test_targets_are_spread() -> None:
    collectors = [f"host-{number}:1" for number in range(4)]
    owners = [owner_of(f"10.0.0.{number}:8000", collectors) for number in range(1000)]
    assert all(190 < owners.count(collector) < 310 for collector in collectors)


def test_without_collectors_nobody_owns_anything() -> None:
    assert owner_of("a:1", []) is None
