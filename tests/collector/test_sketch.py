from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sketch import LARGEST, RELATIVE_ERROR, SMALLEST, Sketch, bucket, merge, quantile, representative, sketch

_SHARES = (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0)
_TOLERANCE = RELATIVE_ERROR * (1 + 1e-9)
DISTRIBUTIONS = {
    "lognormal": lambda dice: dice.lognormvariate(-1, 1.2),
    "bimodal": lambda dice: dice.gauss(0.05, 0.002) if dice.random() < 0.7 else dice.gauss(8, 0.5),
    "constant": lambda dice: 0.25,
    "heavy-tailed": lambda dice: 0.01 * dice.paretovariate(0.6),
    "uniform": lambda dice: dice.uniform(SMALLEST, 1),
}


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The quantile by definition, of values as far as a sketch tells them apart."""
    return sorted(min(max(value, SMALLEST), LARGEST) for value in values)[max(1, math.ceil(share * len(values))) - 1]


@st.composite
def samples(draw: st.DrawFn) -> list[float]:
    make = DISTRIBUTIONS[draw(st.sampled_from(sorted(DISTRIBUTIONS)))]
    dice = random.Random(draw(st.integers(0, 2**32)))
    return [make(dice) for _ in range(draw(st.integers(1, 400)))]


@given(samples())
def test_quantiles_are_within_two_percent_of_the_nearest_rank(values: list[float]) -> None:
    made = sketch(values)
    for share in _SHARES:
        assert quantile(made, share) == pytest.approx(nearest_rank(values, share), rel=_TOLERANCE)


@given(st.lists(samples(), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_merging_in_any_order_and_any_grouping_gives_the_sketch_of_everything(
    parts: list[list[float]], dice: random.Random
) -> None:
    everything = sketch(value for part in parts for value in part)
    waiting: list[Sketch] = [sketch(part) for part in parts]
    while len(waiting) > 1:
        dice.shuffle(waiting)
        size = dice.randint(2, len(waiting))
        waiting = [*waiting[size:], merge(waiting[:size])]
    assert everything == waiting[0]


@given(st.floats(SMALLEST, LARGEST))
def test_a_bucket_stands_for_its_values_within_two_percent(value: float) -> None:
    assert representative(bucket(value)) == pytest.approx(value, rel=_TOLERANCE)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_bucket_fits_the_column(value: float) -> None:
    assert -32_768 <= bucket(value) <= 32_767


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert {} == merge([])
