"""What one file came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.engines import Page
from collector.replay.row import model_of
from collector.request import Reject, Request


class Group(NamedTuple):
    """What tokens are added up by."""

    observed_by: str
    tenant: str
    model: str | None


@dataclass(kw_only=True)
class Account:
    """A file's spans, or its log records: ``received = rows + merged + ignored + duplicate + rejected``.

    Of spans, ``rows`` are requests that were new, and ``duplicate`` counts spans that are there again and requests that were
    known. Of log records, ``rows`` are events that were new, and ``merged`` counts records that told of the same event as
    another. ``requests`` are those of the file, each once, whether or not they were new.
    """

    file: str
    kind: str
    received: int = 0
    rows: int = 0
    merged: int = 0
    ignored: int = 0
    duplicate: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    requests: Sequence[Request] = ()

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Count rejects by their reasons."""
        self.rejected.update(reject.reason.value for reject in rejects)

    def outcomes(self) -> dict[str, int]:
        """How many requests ended how."""
        return dict(sorted(Counter(request.outcome.name.lower() for request in self.requests).items()))

    def tokens(self) -> dict[Group, tuple[int, int, int]]:
        """Input, cached and output tokens as the requests state them; what is unknown adds nothing."""
        sums: dict[Group, tuple[int, int, int]] = {}
        for request in self.requests:
            group = Group(request.observed_by.name.lower(), request.tenant, model_of(request))
            known = sums.get(group, (0, 0, 0))
            stated = (request.input_tokens, request.cached_tokens, request.output_tokens)
            sums[group] = (known[0] + (stated[0] or 0), known[1] + (stated[1] or 0), known[2] + (stated[2] or 0))
        return dict(sorted(sums.items(), key=lambda entry: tuple(part or "" for part in entry[0])))

    def document(self) -> dict[str, object]:
        """As an object of JSON."""
        return {
            "file": self.file,
            "kind": self.kind,
            "received": self.received,
            "rows": self.rows,
            "merged": self.merged,
            "ignored": self.ignored,
            "duplicate": self.duplicate,
            "rejected": dict(sorted(self.rejected.items())),
            "outcomes": self.outcomes(),
            "tokens": [
                {**group._asdict(), "input": sums[0], "cached": sums[1], "output": sums[2]}
                for group, sums in self.tokens().items()
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Exposition:
    """A file's page of metrics. It is shown and never kept: a page says neither when it was scraped nor of which replica."""

    file: str
    page: Page

    def document(self) -> dict[str, object]:
        """As an object of JSON; counters have the engine's raw value."""
        engines = [
            {"engine": reading.label, "model": reading.model, "metrics": dict(sorted(reading.metrics.items()))}
            for reading in self.page.engines
        ]
        return {"file": self.file, "kind": "metrics", "engines": engines, "unknown": list(self.page.unknown)}
