"""Burns against the real Prometheus' arithmetic, on counters of the same verdicts."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from random import Random

import pytest

from alerts.burn import WINDOWS, Counts

pytestmark = pytest.mark.e2e

BUDGET = Fraction(1, 1000)
SCRAPE_SECONDS = 15
SECONDS = 8 * 3600
TOLERANCE = 1e-9
"""Relative: both divide the same whole numbers, and Prometheus multiplies both by how far it extrapolates first."""
_BEFORE = 1_000_000
"""Counters that begin near zero are extrapolated less far."""
_NAMES = {300: "5m", 1800: "30m", 3600: "1h", 21_600: "6h"}


def verdicts(seed: int) -> list[tuple[int, int]]:
    """Good and bad by second: 5 requests a second, few failures, and an hour in which many fail."""
    random, found = Random(seed), []
    for second in range(SECONDS):
        share = 0.1 if 5 * 3600 < second < 6 * 3600 else 0.001
        total = random.randrange(11)
        bad = sum(random.random() < share for _ in range(total))
        found.append((total - bad, bad))
    return found


def series(name: str, values: list[int]) -> dict[str, str]:
    """A counter as it was scraped: its value after each 15 seconds."""
    counter = list(accumulate(values, initial=_BEFORE))[::SCRAPE_SECONDS]
    return {"series": name, "values": " ".join(map(str, counter))}


@pytest.mark.parametrize("seed", [1, 2])
def test_burns_are_those_that_prometheus_computes_over_the_same_windows(seed: int, tmp_path: Path) -> None:
    assert shutil.which("promtool"), "tests need promtool: apt-get install prometheus"
    told = verdicts(seed)
    counts, checks = Counts(0), []
    for second, (good, bad) in enumerate(told, 1):
        counts.advance(second)
        counts.add(second, good, bad)
        if second % 1800 == 0 and second >= 6 * 3600:
            for window in WINDOWS:
                expected = counts.window(window).burn(BUDGET)
                name = _NAMES[window]
                burn = f"(increase(bad_total[{name}]) / increase(all_total[{name}]) / {float(BUDGET)})"
                close = f"abs({burn} - {expected!r}) <= bool {TOLERANCE * max(1.0, expected)!r}"
                checks.append({"expr": close, "eval_time": f"{second}s", "exp_samples": [{"labels": "{}", "value": 1}]})
    path = tmp_path / "burn.json"
    inputs = [series("bad_total", [bad for _, bad in told]), series("all_total", [good + bad for good, bad in told])]
    test = {"interval": f"{SCRAPE_SECONDS}s", "input_series": inputs, "promql_expr_test": checks}
    path.write_text(json.dumps({"evaluation_interval": f"{SCRAPE_SECONDS}s", "tests": [test]}))

    run = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)

    assert 20 == len(checks)
    assert 0 == run.returncode, run.stdout + run.stderr
