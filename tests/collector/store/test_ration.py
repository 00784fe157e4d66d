from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.store.ration import MOST_FOLDED, Ration


def names(*numbers: int) -> list[tuple[str, ...]]:
    return [(f"name-{number}",) for number in numbers]


def test_what_is_beyond_the_ration_of_a_minute_is_folded_until_the_next() -> None:
    ration = Ration(2)
    assert names(1, 2) == ration.admit(names(1, 2, 3), 7)
    assert [] == ration.admit(names(4), 7)
    assert set(names(3, 4)) == ration.folded(names(1, 2, 3, 4), 7)
    assert set() == ration.folded(names(3, 4), 8)
    assert names(3, 4) == ration.admit(names(3, 4, 5), 8)


def test_name_stays_folded_for_as_long_as_is_asked_for() -> None:
    ration = Ration(0, folded_minutes=10)
    assert [] == ration.admit(names(1), 7)
    assert [True] * 10 + [False] == [bool(ration.folded(names(1), minute)) for minute in range(7, 18)]


def test_flood_of_names_is_bounded_in_memory() -> None:
    ration = Ration(0)
    ration.admit(names(*range(MOST_FOLDED + 5)), 7)
    assert MOST_FOLDED == len(ration.folded(names(*range(MOST_FOLDED + 5)), 7))


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 20), max_size=8)), max_size=20))
def test_no_minute_takes_more_than_its_ration(calls: list[tuple[int, list[int]]]) -> None:
    ration, taken = Ration(3), dict.fromkeys(range(4), 0)
    for minute, numbers in sorted(calls, key=lambda call: call[0]):
        taken[minute] += len(ration.admit(names(*numbers), minute))
    assert max(taken.values()) <= 3
