"""The Finding: what an evaluation sees of one symptom, and what a page says about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from alerts.alert import Observation
from alerts.burn import Tally

HOLD_SECONDS = 10.0
"""How long a symptom must be gone before its alert is resolved [s]."""


class Text(NamedTuple):
    """What a page says: one line, then some more, and since when it has been so."""

    summary: str
    facts: tuple[str, ...]
    since: datetime


class Finding(NamedTuple):
    """One symptom. ``labels`` are the identity of its alert."""

    labels: Mapping[str, str]
    observation: Observation
    text: Text


class Harm(NamedTuple):
    """Requests of one model in the last 5 minutes, and whether they say that users are hurt."""

    tally: Tally
    hurt: bool


class Symptoms(NamedTuple):
    """What was found. While ``blind`` nothing is known of any replica, and nothing about one may change."""

    findings: tuple[Finding, ...]
    blind: bool


def clock(time: datetime) -> str:
    """A time as a page writes it: ``03:12:07 UTC``."""
    return f"{time:%H:%M:%S} UTC"
