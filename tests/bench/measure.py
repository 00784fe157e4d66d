"""CPU time, not time on the clock: others may use the machine too. What is compared is measured in turns."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import process_time
from typing import NamedTuple, TypeVar

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


Item = TypeVar("Item")


class Ratio(NamedTuple):
    """Ours over a floor, or a peer over ours: the median of the repetitions, the least and the most. µs are per item."""

    name: str
    ours_us: float
    than: str
    its_us: float
    median: float
    least: float
    most: float


def ratio(name: str, ours: Sequence[float], than: str, its: Sequence[float], *, items: int, faster: bool = False) -> Ratio:
    """From CPU seconds of repetitions that were made in turns; ``faster`` is how many times less ours takes."""
    pairs = [(b / a if faster else a / b) for a, b in zip(ours, its, strict=True)]
    microseconds = [statistics.median(seconds) / items * 1e6 for seconds in (ours, its)]
    return Ratio(name, microseconds[0], than, microseconds[1], statistics.median(pairs), min(pairs), max(pairs))


def cpu(work: Callable[[Item], object], items: Iterable[Item]) -> float:
    """CPU seconds of this process for some work on each of several items, with what it leaves to be freed."""
    start = process_time()
    for item in items:
        work(item)
    return process_time() - start


def family_cpu_seconds(pid: int) -> float:
    """CPU seconds of a process, of its children that run, and of those that have ended."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(entry.name) == pid:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == pid:
                ticks += sum(map(int, fields[11:13]))
    return ticks / _TICKS


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
