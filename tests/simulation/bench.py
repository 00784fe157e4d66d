"""How often nobody should have been woken, and how late somebody was: simulated, and written into docs/alerting.md."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import NamedTuple

from alerts.burn import SPAN_SECONDS, Tally
from alerts.detect import MONTH_SECONDS, Past
from tests.simulation.rule import Told, final, guard, prometheus
from tests.simulation.trace import Cluster, Pattern, Trace, arrivals, failing, healthy

PAGE = Path(__file__).parents[2] / "docs" / "alerting.md"
RULES = ("Prometheus", "windows", "alerter")
SEED = 20260101
MONTHS = {0.05: 12, 0.5: 24, 5.0: 12, 50.0: 6, 500.0: 2}
"""Months of healthy traffic by requests a second, for each pattern."""
PATTERNS = (
    Pattern(),
    Pattern(Cluster.RUNS),
    Pattern(Cluster.RUNS, blips=True),
    Pattern(Cluster.BURSTS),
)
REPEATS = 40
SHARES = (1.0, 0.1)
LONGEST_SECONDS = {1.0: 1200, 0.1: 7200}
CYCLE = (120, 420)
"""A stream that flaps: so many seconds of outage in each cycle of so many."""


class Quiet(NamedTuple):
    """False pages in some months of healthy traffic, by rule; ``told`` counts also those of an alert that had just ended."""

    rate: float
    pattern: Pattern
    months: int
    pages: tuple[int, ...]
    told: tuple[int, ...]
    clustering: float


class Delay(NamedTuple):
    """Seconds from the onset to the page: median and 95th percentile by rule; ``missed`` were not seen in time."""

    rate: float
    share: float
    medians: tuple[float, ...]
    worst: tuple[float, ...]
    missed: tuple[int, ...]


def watch_quiet(rate: float, pattern: Pattern, months: int, seconds: int = MONTH_SECONDS) -> Quiet:
    """Healthy months, one after the other; what each taught of clustering holds in the next."""
    random = Random(f"{SEED} {rate} {pattern.name}")
    past = healthy(rate, seconds, pattern, random).past()
    counts: list[list[Told]] = [[], [], []]
    for _ in range(months):
        trace = healthy(rate, seconds, pattern, random)
        counts[0] += prometheus(trace, SPAN_SECONDS)
        counts[1] += guard(trace, SPAN_SECONDS)
        counts[2] += final(trace, SPAN_SECONDS, past)
        past = trace.past()
    pages = tuple(sum(not one.again for one in told) for told in counts)
    return Quiet(rate, pattern, months, pages, tuple(map(len, counts)), past.clustering)


def time_outage(rate: float, share: float, repeats: int = REPEATS) -> Delay:
    """Outages after six healthy hours: of Prometheus, of the windows alone, and of the alerter where failures were seen to be
    independent and where they were seen to come in runs of five."""
    random = Random(f"{SEED} {rate} {share}")
    found: list[list[float]] = [[], [], [], []]
    for _ in range(repeats):
        trace, onset = _outage(rate, share, random)
        start = onset - 900
        total = Tally(round(rate * MONTH_SECONDS), 0)
        runs = (
            prometheus(trace, start, random.randrange(30)),
            guard(trace, onset, once=True),
            *(final(trace, start, Past({MONTH_SECONDS: total}, 0, clustering), once=True) for clustering in (1.0, 5.0)),
        )
        for delays, told in zip(found, runs, strict=True):
            delays.append(next((one.at - onset for one in told if one.at >= onset), math.inf))
    return Delay(
        rate,
        share,
        tuple(median(delays) for delays in found),
        tuple(quantiles(delays, n=20, method="inclusive")[-1] if math.inf not in delays else math.inf for delays in found),
        tuple(delays.count(math.inf) for delays in found),
    )


def _outage(rate: float, share: float, random: Random) -> tuple[Trace, int]:
    onset = SPAN_SECONDS + random.randrange(60)
    trace = healthy(rate, onset + LONGEST_SECONDS[share], Pattern(), random)
    return failing(trace, onset, share, random), onset


def flap(rate: float = 5.0, hours: int = 3) -> list[list[Told]]:
    """What each rule tells of a stream that is out for 2 minutes in every 7."""
    random = Random(f"{SEED} flap")
    good = arrivals(rate, SPAN_SECONDS + hours * 3600, random)
    bad = type(good)("I", bytes(4 * len(good)))
    for second in range(SPAN_SECONDS, len(good)):
        if (second - SPAN_SECONDS) % CYCLE[1] < CYCLE[0]:
            bad[second], good[second] = good[second], 0
    trace = Trace(good, bad)
    past = Past({MONTH_SECONDS: Tally(round(rate * MONTH_SECONDS), 0)}, 0, 5.0)
    start = SPAN_SECONDS - 900
    return [prometheus(trace, start), guard(trace, start), final(trace, start, past)]


def at_most(count: int, months: int) -> float:
    """Events a month that are exceeded with a probability of 5 % at most, where so many were seen: Poisson, one-sided."""
    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(60):
        middle = (low + high) / 2
        seen = sum(math.exp(-middle + n * math.log(middle) - math.lgamma(n + 1)) for n in range(count + 1))
        low, high = (middle, high) if seen > 0.05 else (low, middle)
    return high / months


def main() -> None:
    """Simulate everything, and write the page."""
    jobs: list[Callable[[], Quiet | Delay]] = []
    for rate, months in reversed(MONTHS.items()):  # the longest first
        jobs += [partial(watch_quiet, rate, pattern, months) for pattern in PATTERNS]
        jobs += [partial(time_outage, rate, share) for share in SHARES]
    quiet: list[Quiet] = []
    delays: list[Delay] = []
    with ProcessPoolExecutor(max_workers=2) as pool:
        running = [pool.submit(job) for job in jobs]
        for number, done in enumerate(as_completed(running), 1):
            result = done.result()
            print(f"{number} of {len(jobs)}: {result}", file=sys.stderr, flush=True)
            if isinstance(result, Quiet):
                quiet.append(result)
            else:
                delays.append(result)
    quiet.sort(key=lambda one: (one.rate, PATTERNS.index(one.pattern)))
    delays.sort(key=lambda one: (-one.share, one.rate))
    PAGE.write_text(page(quiet, delays, flap()))
    print(f"wrote {PAGE}", file=sys.stderr)


def page(quiet: Sequence[Quiet], delays: Sequence[Delay], flapping: Sequence[Sequence[Told]]) -> str:
    """The whole of docs/alerting.md."""
    rows = [
        f"| {one.rate:g} | {one.pattern.name} | {one.months} | {one.clustering:.1f} | "
        + " | ".join(f"{count / one.months:.2g} (< {at_most(count, one.months):.2g})" for count in one.pages)
        + " |"
        for one in quiet
    ]
    late = [
        f"| {'total outage' if one.share == 1 else f'{one.share:.0%} of requests fail'} | {one.rate:g} | "
        + " | ".join(f"{middle:.0f} / {worst:.0f}" for middle, worst in zip(one.medians, one.worst, strict=True))
        + " |"
        for one in delays
    ]
    flaps = [
        f"| {name} | {len(told)} | {sum(one.again for one in told)} | {_last(told)} |"
        for name, told in zip(RULES, flapping, strict=True)
    ]
    template = Path(__file__).with_name("alerting.md").read_text()
    return (
        template.replace("{quiet}", "\n".join(rows))
        .replace("{delays}", "\n".join(late))
        .replace("{flaps}", "\n".join(flaps))
        .replace("{repeats}", str(REPEATS))
        .replace("{months}", f"{sum(MONTHS.values()) * len(PATTERNS):g}")
        .replace("{seed}", str(SEED))
    )


def _last(told: Sequence[Told]) -> str:
    return f"{(told[-1].at - SPAN_SECONDS) / 60:.0f} min" if told else "never"


if __name__ == "__main__":
    main()
