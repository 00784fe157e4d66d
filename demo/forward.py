"""Sends an engine's log to an OTLP receiver, line by line, as a log shipper does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import aiohttp

_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0
_CHUNK_BYTES = 2**18
"""Largest piece of the log in one body. A line that is longer is sent in pieces."""

Progress = Callable[[str], None]


class Piece(NamedTuple):
    """Lines of a log, and where the next ones begin [bytes]."""

    lines: Sequence[str]
    end: int


def read_piece(log: Path, start: int) -> Piece:
    """The whole lines from ``start`` on; none when there are none yet, or no file."""
    try:
        with log.open("rb") as file:
            # A log that is shorter than what was read of it is a new one.
            if file.seek(0, 2) < start:
                start = 0
            file.seek(start)
            content = file.read(_CHUNK_BYTES)
    except OSError:
        return Piece((), start)
    whole = content if len(content) == _CHUNK_BYTES and b"\n" not in content else content[: content.rfind(b"\n") + 1]
    return Piece(whole.decode(errors="replace").splitlines(), start + len(whole))


def export_request(lines: Sequence[str], resource: Mapping[str, str], read_ns: int) -> dict[str, object]:
    """One OTLP/JSON body. The lines' own times are left to whoever reads them: ``read_ns`` is when they were seen."""
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in resource.items()]
    records = [{"observedTimeUnixNano": str(read_ns), "body": {"stringValue": line}} for line in lines]
    return {"resourceLogs": [{"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": records}]}]}


@asynccontextmanager
async def forwarding(log: Path, endpoint: str, resource: Mapping[str, str], progress: Progress) -> AsyncIterator[None]:
    """Send what is written to ``log`` from now on to ``endpoint``, an OTLP/HTTP receiver without its path."""
    start = await asyncio.to_thread(_size, log)
    task = asyncio.create_task(_forward(log, start, f"{endpoint}/v1/logs", resource, progress), name=f"forward {log.name}")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


async def _forward(log: Path, start: int, url: str, resource: Mapping[str, str], progress: Progress) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)) as session:
        while True:
            piece = await asyncio.to_thread(read_piece, log, start)
            start = piece.end
            if not piece.lines:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            body = export_request(piece.lines, resource, time.time_ns())
            # The same body until it is taken: what is sent twice keeps its times, and is told once.
            taken = await _send(session, url, body, progress)
            while not taken:
                await asyncio.sleep(_RETRY_SECONDS)
                taken = await _send(session, url, body, progress)


async def _send(session: aiohttp.ClientSession, url: str, body: dict[str, object], progress: Progress) -> bool:
    """Whether nothing is left to do: the body was taken, or is refused for good."""
    try:
        async with session.post(url, json=body) as response:
            if response.status == 429 or response.status >= 500:
                return False
            if response.status != 200:
                progress(f"lines of the engine's log were refused with {response.status}: {(await response.text())[:200]}")
            return True
    except (aiohttp.ClientError, TimeoutError):
        return False
