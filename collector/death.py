"""Engine logs: a line → what it says of the engine, and what was said → one event per crash. Pure.

The text of a line is looked at and dropped: users paste tracebacks into prompts, and engines log prompts. What is kept is the
id of the pattern that matched and, from vLLM's crash log, the ids of the requests that were being computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from collector.death_sign import MEMORIES, Says, Sign, find_sign
from collector.event import EventKind

TOGETHER = timedelta(seconds=60)
"""A memory fault and a death that are no further apart are one crash."""
ECHO = timedelta(minutes=15)
"""How long a dead engine's "I am dead" is taken for an echo, where its start was not seen: vLLM says it at every request."""
MOST_REQUESTS = 32
"""Request ids that are kept of one crash."""
LONGEST_ID = 128
MOST_LINES = 10_000
"""Lines of one log record that are looked at."""

UNKNOWN = "unknown"
"""The cause of a death of which no line gave one."""

_DUMP = "Dumping scheduler output for model execution"
_SCHEDULED = "num_scheduled_tokens={"
_ID = re.compile(rf"['\"]?([A-Za-z0-9][A-Za-z0-9._:-]{{0,{LONGEST_ID - 1}}})['\"]?: \d{{1,7}}")


class Mark(NamedTuple):
    """One line that says something: a pattern's sign, or the requests that were being computed when the engine failed."""

    at: datetime
    sign: Sign | None
    requests: tuple[str, ...] = ()


class Death(NamedTuple):
    """What is told of one crash: ``kind`` is OOM while the engine may live on, DEATH once it is gone.

    ``cause`` is a value of ``Says``, or ``unknown``; ``pattern`` is the id of the pattern that the cause was read from, and of
    the death's where there is no cause. Request ids are those of the engine, with the suffix that vLLM adds to its own.
    """

    at: datetime
    kind: EventKind
    cause: str
    pattern: int
    requests: tuple[str, ...]

    @property
    def detail(self) -> dict[str, str]:
        """As it is kept with the event."""
        return {"cause": self.cause, "pattern": str(self.pattern), "requests": ",".join(self.requests)}


@dataclass(frozen=True, slots=True)
class Crash:
    """What is known of one replica's trouble so far, and what of it was told."""

    last_at: datetime
    cause: Sign | None = None
    cause_at: datetime | None = None
    """When a line last said so."""
    dead_of: str | None = None
    """The cause that was told of the death; ``None`` while none was told."""
    oom_told_at: datetime | None = None
    requests: tuple[str, ...] = ()
    requests_at: datetime | None = None


def read_lines(text: str, at: datetime, severity: int = 0) -> list[Mark]:
    """The marks of one log record, which may be of several lines. ``severity`` is OTLP's number, 0 where it is not given."""
    marks = []
    for line in text.split("\n", MOST_LINES)[:MOST_LINES]:
        if _DUMP in line:
            marks.append(Mark(at, None, _scheduled(line)))
        elif (sign := find_sign(line, severity)) is not None:
            marks.append(Mark(at, sign))
    return marks


def _scheduled(line: str) -> tuple[str, ...]:
    """The requests of the batch that failed: the last such map, because a request's own parameters are printed before it."""
    _, found, rest = line.rpartition(_SCHEDULED)
    # "total_num_scheduled_tokens=" is followed by no brace.
    inside = rest.partition("}")[0] if found else ""
    ids = (match.group(1) for part in inside.split(", ") if (match := _ID.fullmatch(part)))
    return tuple(sorted(set(ids)))[:MOST_REQUESTS]


def see_all(crash: Crash | None, marks: Iterable[Mark]) -> tuple[Crash | None, list[Death]]:
    """What one replica's marks make of what was known, and what is to be told. They are taken in the order of their times.

    A memory fault and the death that it caused are one event where both are in ``marks``; else the fault is told at once, and
    the death when it is seen.
    """
    told: list[Death] = []
    for mark in sorted(marks, key=lambda mark: mark.at):
        crash, death = see(crash, mark)
        if death is None:
            continue
        if told and death.kind is EventKind.DEATH and _same_fault(told[-1], death):
            told[-1] = death
        else:
            told.append(death)
    return crash, told


def _same_fault(fault: Death, death: Death) -> bool:
    alike = (fault.kind, fault.cause) == (EventKind.OOM, death.cause)
    return alike and abs(death.at - fault.at) <= TOGETHER


def see(crash: Crash | None, mark: Mark) -> tuple[Crash | None, Death | None]:
    """What one mark makes of what was known, and what is to be told."""
    sign = mark.sign
    if sign is not None and sign.says is Says.STARTED:
        # A start that is no later than the trouble comes from a body that was sent twice, and ends nothing.
        return (crash if crash is not None and mark.at <= crash.last_at else None), None
    current = _current(crash, mark)
    if sign is None:
        return replace(current, requests=mark.requests, requests_at=mark.at), None
    if sign.says is Says.RECOVERED:
        # What the engine mended by itself was no cause of anything.
        mended = current.cause is not None and not current.cause.proof
        return (replace(current, cause=None, cause_at=None) if mended else current), None
    current = _explained(current, mark.at, sign)
    if sign.ends:
        return _die(current, mark.at, sign)
    if sign.says is Says.OOM and sign.proof:
        return _run_out(current, mark.at, sign)
    return current, None


def _current(crash: Crash | None, mark: Mark) -> Crash:
    """The crash that the mark belongs to."""
    if crash is None:
        return Crash(mark.at)
    echoes = crash.dead_of is not None and mark.sign is not None and mark.sign.echo
    if abs(mark.at - crash.last_at) > (ECHO if echoes else TOGETHER):
        return Crash(mark.at)
    return replace(crash, last_at=max(crash.last_at, mark.at))


def _explained(crash: Crash, at: datetime, sign: Sign) -> Crash:
    """Memory explains more than anything else, proof more than a hint, whose memory it was more than that it was memory, and
    what was said first more than what came of it."""
    known = crash.cause
    if sign.says is Says.ENGINE_DEAD:
        return crash
    if known is None or _weight(sign) > _weight(known):
        return replace(crash, cause=sign, cause_at=at)
    return replace(crash, cause_at=at) if known.says is sign.says else crash


def _weight(sign: Sign) -> tuple[bool, bool, bool]:
    return sign.says is Says.OOM, sign.proof, str(sign.pattern) in MEMORIES


def _die(crash: Crash, at: datetime, sign: Sign) -> tuple[Crash, Death | None]:
    if crash.dead_of is not None:
        return crash, None
    cause = crash.cause if crash.cause_at is not None and abs(at - crash.cause_at) <= TOGETHER else None
    says = cause.says.value if cause is not None else UNKNOWN
    pattern = cause.pattern if cause is not None else sign.pattern
    return replace(crash, dead_of=says), Death(at, EventKind.DEATH, says, pattern, _requests(crash, at))


def _run_out(crash: Crash, at: datetime, sign: Sign) -> tuple[Crash, Death | None]:
    told = crash.oom_told_at is not None and abs(at - crash.oom_told_at) <= TOGETHER
    if told or crash.dead_of == Says.OOM.value:
        return crash, None
    dead_of = crash.dead_of and Says.OOM.value
    death = Death(at, EventKind.OOM, sign.says.value, sign.pattern, _requests(crash, at))
    return replace(crash, oom_told_at=at, dead_of=dead_of), death


def _requests(crash: Crash, at: datetime) -> tuple[str, ...]:
    return crash.requests if crash.requests_at is not None and abs(at - crash.requests_at) <= TOGETHER else ()
