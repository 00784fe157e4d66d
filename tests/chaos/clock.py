"""``llm-slo`` on a machine whose clock is wrong. Run as ``python -m tests.chaos.clock FILE VERB …``.

FILE says by how many seconds the clock is ahead, now. It is read each time: a test sets the clock by writing to it.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import pytest

import llm_slo
from collector import clock

PATCH = pytest.MonkeyPatch()


def set_clock(file: Path) -> None:
    """Let every process that reads the file see another time."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]  # no Clock is needed
            return datetime.datetime.now(tz) + datetime.timedelta(seconds=float(file.read_text()))

    # The edge, where the time is asked for; all else is told it.
    PATCH.setattr(clock, "datetime", Clock)


if __name__ == "__main__":
    set_clock(Path(sys.argv.pop(1)))
    llm_slo.main()
