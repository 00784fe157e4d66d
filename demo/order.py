"""An order to break something, and how it can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from demo.state import Replica, State

Progress = Callable[[str], None]


class CannotBreak(Exception):
    """The fault cannot be caused now; the message says why."""


class BrokenPromise(Exception):
    """The daemon did not keep what it acknowledged; the message says what is missing."""


class Order(NamedTuple):
    """What is to be broken, and how."""

    state: State
    directory: Path
    """Of the demo."""
    replica: Replica
    seconds: float | None
    """How long; None for what the fault's own default is."""
    progress: Progress
    note: str = ""
    """Added to the text of a simulated error."""
