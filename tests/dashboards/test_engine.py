"""Gauges and counters of the board against the scrapes that they come from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest

from collector.schema import snapshots
from tests.dashboards.conftest import Shown
from tests.dashboards.fleet import REPLICAS, RESET_AT, Scrape
from tests.dashboards.grafana import View
from tests.dashboards.test_traffic import series

SUMMED = [("Running and waiting", "running"), ("Running and waiting", "waiting"), ("Preemptions", "value")]
INTERVALS = [timedelta(minutes=1), timedelta(minutes=5)]


def scrapes_in(shown: Shown, view: View) -> list[Scrape]:
    """The scrapes of a view's range."""
    return [scrape for scrape in shown.scrapes if view.start <= shown.base + scrape.at <= view.end]


def slot_of(shown: Shown, view: View, scrape: Scrape) -> float:
    """The start of a scrape's slot [epoch seconds]."""
    seconds = view.interval.total_seconds()
    return (shown.base + scrape.at).timestamp() // seconds * seconds


def increases(shown: Shown, view: View, name: str) -> Iterator[tuple[float, str, float, float]]:
    """Slot, replica, increase of a counter, seconds: for each pair of neighbouring scrapes that hold it."""
    for replica in REPLICAS:
        counted = [scrape for scrape in scrapes_in(shown, view) if scrape.replica == replica and name in scrape.values]
        for before, after in pairwise(counted):
            grown = after.values[name] - before.values[name]
            seconds = (after.at - before.at).total_seconds()
            yield slot_of(shown, view, after), replica, after.values[name] if grown < 0 else grown, seconds


@pytest.mark.parametrize("interval", INTERVALS)
def test_load_is_the_mean_of_each_interval(shown: Shown, interval: timedelta) -> None:
    view = shown.view(interval)
    for value in ("running", "waiting"):
        seen: dict[tuple[float, str], list[float]] = defaultdict(list)
        for scrape in scrapes_in(shown, view):
            seen[slot_of(shown, view, scrape), scrape.replica].append(scrape.values[f"requests_{value}"])
        expected = {key: sum(values) / len(values) for key, values in seen.items()}
        assert pytest.approx(expected) == series(shown, "Running and waiting", view, value)


def test_a_replica_with_two_engines_shows_what_both_hold(shown: Shown) -> None:
    view = shown.view()
    before = [series(shown, title, view, value) for title, value in SUMMED]
    columns = ", ".join("'1'" if name == "engine" else f'"{name}"' for name in snapshots.columns.keys())  # noqa: SIM118
    names = ", ".join(f'"{name}"' for name in snapshots.columns.keys())  # noqa: SIM118
    shown.connection.execute(f"INSERT INTO snapshots ({names}) SELECT {columns} FROM snapshots WHERE replica_id = 2".encode())
    for (title, value), once in zip(SUMMED, before, strict=True):
        expected = {key: amount * (2 if key[1] == "tiny-0" else 1) for key, amount in once.items()}
        assert pytest.approx(expected) == series(shown, title, view, value), title


def test_kv_usage_is_the_fullest_of_each_interval(shown: Shown) -> None:
    view = shown.view()
    expected: dict[tuple[float, str], float] = defaultdict(float)
    for scrape in scrapes_in(shown, view):
        key = slot_of(shown, view, scrape), scrape.replica
        expected[key] = max(expected[key], scrape.values["kv_cache_usage_ratio"])
    assert pytest.approx(dict(expected)) == series(shown, "KV-cache usage, highest", view)


@pytest.mark.parametrize("interval", INTERVALS)
def test_preemptions_are_increases_a_minute_and_a_restart_begins_at_zero(shown: Shown, interval: timedelta) -> None:
    view = shown.view(interval)
    grown: dict[tuple[float, str], list[tuple[float, float]]] = defaultdict(list)
    for slot, replica, increase, seconds in increases(shown, view, "preemptions"):
        grown[slot, replica].append((increase, seconds))
    expected = {key: 60 * sum(part[0] for part in parts) / sum(part[1] for part in parts) for key, parts in grown.items()}
    found = series(shown, "Preemptions", view)
    assert pytest.approx(expected) == found
    restart = (shown.base + timedelta(minutes=RESET_AT)).timestamp()
    assert all(0 <= found[slot, replica] <= 5 for slot, replica in found)
    assert (restart, "tiny-0") in found


def test_the_prefix_hit_rate_comes_from_sums_of_tokens(shown: Shown) -> None:
    view = shown.view()
    sums: dict[tuple[float, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for place, name in enumerate(("prefix_cache_hits", "prefix_cache_queries")):
        for slot, replica, increase, _ in increases(shown, view, name):
            sums[slot, replica][place] += increase
    expected = {key: hits / queries for key, (hits, queries) in sums.items()}
    found = series(shown, "Prefix-cache hits by replica", view)
    assert pytest.approx(expected) == found
    assert all(0 <= rate <= 1 and not math.isnan(rate) for rate in found.values())


def test_a_chosen_replica_is_the_only_one_shown(shown: Shown) -> None:
    view = shown.view(replica=["tiny-1"])
    for title in ("Running and waiting", "KV-cache usage, highest", "Preemptions", "Prefix-cache hits by replica"):
        value = "running" if title == "Running and waiting" else "value"
        assert {"tiny-1"} == {replica for _, replica in series(shown, title, view, value)}, title
