from __future__ import annotations

from io import StringIO

import pytest

from collector.own_log import LastingLogger


class Full(StringIO):
    """A disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "msg"])
def test_line_that_cannot_be_written_is_done_without(level: str) -> None:
    getattr(LastingLogger(Full()), level)("a line")


def test_line_is_written() -> None:
    file = StringIO()
    LastingLogger(file).error("a line")
    assert "a line\n" == file.getvalue()
