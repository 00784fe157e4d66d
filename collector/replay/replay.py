"""One file through the path of live telemetry: decode → assemble → normalise → judge → store, closed at the file's end.

Of a file's spans only what the allow-list keeps is held until its end; everything else is read and dropped body by body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from collector.assemble import assemble
from collector.death import Mark, see_all
from collector.engines import Page as EnginePage
from collector.engines import read_page
from collector.errors import BodyTooLarge, MalformedBody, MalformedExposition
from collector.event import Event
from collector.ingest import allow_list
from collector.normalise import Policy, normalise
from collector.otlp.allow import Decoded
from collector.otlp.log import DecodedLogs, LogKeys, Source
from collector.replay.account import Account, Exposition
from collector.replay.body import decode
from collector.replay.capture import Body, Broken, Page, read
from collector.replay.sink import Nowhere, Sink
from collector.request import Reject, Request
from collector.span import Span

MOST_FAULTS = 100
"""Faults of one file that are told one by one."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Replayed(NamedTuple):
    """What a file came to: one entry per kind of telemetry in it, traces before logs; and how many parts of it are none."""

    entries: tuple[Account | Exposition, ...]
    faults: int


class Replay:
    """Replays files. ``largest_body`` is the size of a body above which a sender would be refused [bytes]. ``complain`` is told
    of what is no telemetry: each line names the file, the place in it and what was expected.
    """

    def __init__(
        self, policy: Policy, sink: Sink, *, largest_body: int, now: Callable[[], datetime], complain: Callable[[str], None]
    ) -> None:
        self._policy = policy
        self._sink = sink
        self._largest_body = largest_body
        self._now = now
        self._complain = complain
        self._allow = allow_list(policy)
        self._keys = LogKeys(policy.attributes.replica, policy.attributes.model)

    async def __call__(self, path: Path) -> Replayed:
        """Replay one file.

        :raises OSError: for a file that cannot be read
        :raises StoreUnavailable: when Postgres did not commit
        """
        found = _Found()
        faults = 0
        for part in read(path, self._largest_body):
            fault = self._take(part, found)
            if fault is not None:
                faults += 1
                if faults <= MOST_FAULTS:
                    self._complain(f"{path}: {fault}")
        if faults > MOST_FAULTS:
            self._complain(f"{path}: and {faults - MOST_FAULTS} more")
        entries: list[Account | Exposition] = [Exposition(file=str(path), page=page) for page in found.pages]
        if found.traces:
            entries.append(await self._close_spans(str(path), found))
        if found.logs:
            entries.append(await self._close_logs(str(path), found))
        return Replayed(tuple(entries), faults)

    def _take(self, part: Body | Page | Broken, found: _Found) -> str | None:
        """Add a part of a file to what was found in it, or say where it is and what was expected."""
        if isinstance(part, Broken):
            return f"{part.where + ': ' if part.where else ''}expected {part.why}"
        try:
            if isinstance(part, Page):
                found.pages.append(read_page(part.text))
            else:
                found.add(decode(part.data, part.is_json, self._allow, self._keys, self._now()))
        except MalformedExposition as error:
            return f"expected a page in the Prometheus text format: {error}"
        except (MalformedBody, BodyTooLarge) as error:
            return f"{part.where if isinstance(part, Body) else ''}: {error}"
        return None

    async def _close_spans(self, file: str, found: _Found) -> Account:
        """Nothing more can come: every group of spans is whole now."""
        account = Account(file=file, kind="traces", received=len(found.spans) + len(found.span_rejects))
        account.reject(found.span_rejects)
        now = self._now()
        # Nothing is kept, so no partition has to be there: an old capture is judged as of when it was made.
        as_of = time_of(found.spans, now) if isinstance(self._sink, Nowhere) else now
        spans = _different(found.spans)
        assembled = assemble(spans)
        account.merged, account.ignored = assembled.merged, assembled.ignored
        results = [normalise(group, self._policy, as_of) for group in assembled.groups]
        account.reject(result for result in results if isinstance(result, Reject))
        requests = [result for result in results if not isinstance(result, Reject)]
        account.requests = list({_key(request): request for request in requests}.values())
        account.rows = await self._sink.keep(account.requests, now)
        account.duplicate = len(found.spans) - len(spans) + len(requests) - account.rows
        return account

    async def _close_logs(self, file: str, found: _Found) -> Account:
        account = Account(file=file, kind="logs", ignored=found.ignored)
        account.received = found.facts + found.ignored + len(found.log_rejects)
        account.reject(found.log_rejects)
        events = _events(found.marks)
        account.rows = await self._sink.tell(events)
        # Of a death that is known already, one record stands for it, as one span stands for a request.
        account.duplicate = len(events) - account.rows
        account.merged = max(0, found.facts - len(events))
        return account


class _Found:
    """What was read of one file so far."""

    def __init__(self) -> None:
        self.traces = self.logs = False
        self.pages: list[EnginePage] = []
        self.spans: list[Span] = []
        self.span_rejects: list[Reject] = []
        self.marks: dict[Source, list[Mark]] = {}
        self.facts = self.ignored = 0
        self.log_rejects: list[Reject] = []

    def add(self, decoded: Decoded | DecodedLogs) -> None:
        if isinstance(decoded, Decoded):
            self.traces = True
            self.spans += decoded.spans
            self.span_rejects += decoded.rejects
            return
        self.logs = True
        self.facts += decoded.facts
        self.ignored += decoded.ignored
        self.log_rejects += decoded.rejects
        for source, marks in decoded.marks.items():
            self.marks.setdefault(source, []).extend(marks)


def time_of(spans: Sequence[Span], now: datetime) -> datetime:
    """When a capture was made: the last end of its spans, and never after now."""
    latest = (now - _EPOCH) // timedelta(microseconds=1) * 1000
    ends = [span.end_ns for span in spans if span.end_ns <= latest]
    return _EPOCH + timedelta(microseconds=-(-max(ends) // 1000)) if ends else now


def _different(spans: Sequence[Span]) -> list[Span]:
    """The spans without what was sent again."""
    first: dict[tuple[bytes, bytes], Span] = {}
    different = []
    for span in spans:
        known = first.setdefault((span.trace_id, span.span_id), span)
        if known is span or known != span:
            different.append(span)
    return different


def _key(request: Request) -> tuple[object, ...]:
    return (request.ended_at, request.span_id, request.trace_id, request.tenant)


def _events(marks: dict[Source, list[Mark]]) -> list[Event]:
    """What a file's log records tell, for each replica in the order of time."""
    events: list[Event] = []
    for source, said in marks.items():
        _, deaths = see_all(None, said)
        events += [
            Event(at=death.at, kind=death.kind, replica=source.replica, model=source.model, detail=death.detail)
            for death in deaths
        ]
    return events
