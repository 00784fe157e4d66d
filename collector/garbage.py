"""How often Python looks for garbage: rows come and go by the thousand, and hold nothing that refers to itself."""

from __future__ import annotations

import gc

YOUNG = 50_000
"""Objects that are made before the young ones are looked at. Python's own 700 are a fifth of the CPU of a batch."""
ROUNDS = 50
"""Looks at younger ones before older ones are looked at."""


def collect_rarely() -> None:
    """To be called once everything is imported, which is never garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, ROUNDS, ROUNDS)
