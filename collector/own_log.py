"""Our own log, on standard error. A disk that is full costs its lines, and never the work that they tell of."""

from __future__ import annotations

from contextlib import suppress

import structlog


class LastingLogger(structlog.PrintLogger):
    """Prints, as far as that can be done: what is logged while something fails must not fail itself."""

    def msg(self, message: str) -> None:
        """Print one line, or do without."""
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg
