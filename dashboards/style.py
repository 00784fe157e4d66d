"""What boards look like: units, colours and steps, the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from collector.request import Outcome


class Unit(StrEnum):
    """Units as Grafana knows them."""

    NUMBER = "short"
    TEXT = "string"
    SECONDS = "s"
    RATIO = "percentunit"
    DAYS = "d"
    TIME = "dateTimeAsSystem"
    AGE = "dateTimeFromNow"
    REQUESTS_PER_SECOND = "reqps"
    TOKENS_PER_SECOND = "si:tok/s"
    PER_MINUTE = "cpm"


class Colour(StrEnum):
    """Grafana's named colours, which follow the light and the dark theme."""

    GOOD = "green"
    WARNING = "orange"
    BAD = "red"
    QUIET = "text"
    MARK = "blue"


OUTCOME_COLOURS: Mapping[Outcome, str] = {
    # What we failed is red, orange or purple; what the caller did wrong is blue or yellow.
    Outcome.OK: "green",
    Outcome.OOM: "dark-red",
    Outcome.TIMEOUT: "red",
    Outcome.SERVER_ERROR: "light-red",
    Outcome.UNAVAILABLE: "purple",
    Outcome.OVERLOAD: "orange",
    Outcome.RATE_LIMIT: "yellow",
    Outcome.VALIDATION: "blue",
    Outcome.AUTH: "dark-blue",
    Outcome.CONTENT_FILTER: "light-blue",
    Outcome.CANCELLED: "semi-dark-yellow",
    Outcome.UNKNOWN: "text",
}
"""The same colour for the same outcome on every board."""


class Step(NamedTuple):
    """From this value on (``None``: from below everything) this colour."""

    value: float | None
    colour: Colour


class Draw(StrEnum):
    """How a series is drawn. Bars stack, for amounts that add up and may be absent; lines are for levels and latencies."""

    LINES = "line"
    BARS = "bars"


class Cell(NamedTuple):
    """How a column of a table is shown: its unit, its width in pixels, and colours by value or by text."""

    unit: Unit = Unit.TEXT
    width: int | None = None
    steps: tuple[Step, ...] = ()
    texts: Mapping[str, Colour] = {}
