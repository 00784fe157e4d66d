"""How many new names of one kind a minute brings. Senders choose names, and each would live for ever: in a table, in a variable
of a board, in a legend. What comes beyond that is folded into one entry, and counted. Pure: the minute is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MOST_FOLDED = 100_000
"""Folded names that are remembered, of one kind; the oldest are forgotten first."""


class Ration:
    """The ration of one kind of name. A name stays folded for ``folded_minutes``, that in which it came among them."""

    def __init__(self, most: int, folded_minutes: int = 1) -> None:
        self._most = most
        self._folded_minutes = folded_minutes
        self._minute = -1
        self._taken = 0
        self._folded: dict[tuple[str, ...], int] = {}

    def folded(self, names: Iterable[tuple[str, ...]], minute: int) -> set[tuple[str, ...]]:
        """Those of some names that are folded in this minute."""
        return {name for name in names if self._folded.get(name, -1) >= minute}

    def admit(self, names: Sequence[tuple[str, ...]], minute: int) -> list[tuple[str, ...]]:
        """As many of some new names as there is room for; the others are folded from now on."""
        if minute != self._minute:
            self._minute, self._taken = minute, 0
            self._folded = {name: last for name, last in self._folded.items() if last >= minute}
        taken = list(names[: max(0, self._most - self._taken)])
        self._taken += len(taken)
        for name in names[len(taken) :]:
            self._folded[name] = minute + self._folded_minutes - 1
        while len(self._folded) > MOST_FOLDED:
            del self._folded[next(iter(self._folded))]
        return taken
