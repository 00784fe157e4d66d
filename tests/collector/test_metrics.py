from __future__ import annotations

from collections import Counter

from collector.metrics import COUNTERS, FAMILIES, GAUGES, HISTOGRAMS


def test_names_are_unique() -> None:
    assert [] == [name for name, count in Counter(family.name for family in FAMILIES).items() if count > 1]


def test_every_family_is_of_one_kind() -> None:
    assert Counter(FAMILIES) == Counter([*GAUGES, *COUNTERS, *HISTOGRAMS])


def test_names_fit_a_column_with_its_suffix() -> None:
    assert [] == [family.name for family in FAMILIES if len(f"{family.name}_buckets") > 63]
