"""``python -m tests.e2e.outage``: `llm-slo up` under steady load while its Postgres is stopped, and what became of every span.

Senders keep to a timetable whatever the answers take, and keep each body until it is acknowledged, as exporters do. Prints what
was acknowledged and what is stored, how long the replay took, and how long live senders waited before, during and after it.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psycopg
import yaml
from psycopg.conninfo import make_conninfo

from collector.postgres.directory import DATABASE, ROLE
from collector.reads.live import count_rows
from demo.outage import postgres_stopped
from tests.collector.otlp_body import body, chat_span
from tests.collector.port import free_address
from tests.process import PARTS, ledger, send_until_acknowledged, until

BODY_SPANS = 20
AROUND_SECONDS = 10.0
"""Load before the outage, and after the replay."""
_REPLAYED_SECONDS = 600.0
_ANSWERED_SECONDS = 60.0


class Sent(NamedTuple):
    """One acknowledged body: when it was due [monotonic s], how long until it was acknowledged [s], in how many attempts."""

    due: float
    seconds: float
    attempts: int


class Report(NamedTuple):
    """What came of it. Latencies are from when a body was due until it was acknowledged [s]."""

    acknowledged: int
    stored: int
    ledger: dict[str, float]
    waiting: int
    """Spans in the spool when Postgres answered again."""
    back_seconds: float
    """From the moment that it may be started again until it answers."""
    replay_seconds: float
    before: Sequence[Sent]
    away: Sequence[Sent]
    replaying: Sequence[Sent]
    after: Sequence[Sent]


class Daemon(NamedTuple):
    """`llm-slo up`: its process id, and where it listens."""

    pid: int
    listen: dict[str, str]


@contextmanager
def up(directory: Path) -> Iterator[Daemon]:
    """`llm-slo up` with data in ``directory``; its log is a file there."""
    listen = {name: free_address() for name in ("otlp_grpc", "otlp_http", "web", "alerter")}
    config = directory / "llm-slo.yaml"
    config.write_text(yaml.safe_dump({"data_dir": str(directory / "data"), "listen": listen}))
    with (directory / "llm-slo.log").open("wb") as log:
        command = [sys.executable, "-m", "llm_slo", "up", "--config", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Daemon(process.pid, listen)
    finally:
        process.terminate()
        process.wait(60)


class Load:
    """Bodies at a steady rate, each sent again until it is acknowledged."""

    def __init__(self, session: aiohttp.ClientSession, url: str, spans_per_second: float) -> None:
        self._session, self._url = session, url
        self._pause = BODY_SPANS / spans_per_second
        self._enough = asyncio.Event()
        self.sent: list[Sent] = []

    async def run(self) -> None:
        """Send until it is enough, and wait for the last answers."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as bodies:
            number = 0
            while not self._enough.is_set():
                due = start + number * self._pause
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                bodies.create_task(self._send(number, due))
                number += 1

    def enough(self) -> None:
        """Begin no body any more."""
        self._enough.set()

    async def _send(self, number: int, due: float) -> None:
        at = datetime.now(UTC)
        numbers = range(number * BODY_SPANS, (number + 1) * BODY_SPANS)
        data = body(chat_span(one, at - timedelta(microseconds=one % BODY_SPANS)) for one in numbers)
        attempts = await send_until_acknowledged(self._session, self._url, data)
        self.sent.append(Sent(due, time.monotonic() - due, attempts))


async def measure(directory: Path, spans_per_second: float, seconds: float, around_seconds: float = AROUND_SECONDS) -> Report:
    """One outage of ``seconds`` under load."""
    conninfo = make_conninfo(host=str(directory / "data" / "run"), user=ROLE, dbname=DATABASE)
    with up(directory) as (_, listen):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ready() -> bool:
                async with session.get(f"http://{listen['web']}/readyz") as response:
                    return response.status == 200

            await until(ready)
            load = Load(session, f"http://{listen['otlp_http']}/v1/traces", spans_per_second)
            sending = asyncio.create_task(load.run())
            await asyncio.sleep(around_seconds)
            stopped = time.monotonic()
            with postgres_stopped(directory / "data", seconds):
                await asyncio.sleep(seconds)
            begun = time.monotonic()
            await until(lambda: _answers(conninfo))
            back, waiting = time.monotonic(), (await ledger(session, listen["web"]))["pending"]

            async def replayed() -> bool:
                return (await ledger(session, listen["web"]))["pending"] == 0

            await until(replayed, _REPLAYED_SECONDS)
            over = time.monotonic()
            await asyncio.sleep(around_seconds)
            load.enough()
            async with asyncio.timeout(_ANSWERED_SECONDS):
                await sending
            await until(replayed, _REPLAYED_SECONDS)
            async with await psycopg.AsyncConnection.connect(conninfo) as connection:
                stored = await count_rows(connection)
            sums = await ledger(session, listen["web"])
    edges = [0.0, stopped, back, over, float("inf")]
    parts = [[one for one in load.sent if low <= one.due < high] for low, high in pairwise(edges)]
    return Report(len(load.sent) * BODY_SPANS, stored, sums, int(waiting), back - begun, over - back, *parts)


async def _answers(conninfo: str) -> bool:
    async with await psycopg.AsyncConnection.connect(conninfo):
        return True


def quantile(sent: Sequence[Sent], share: float) -> float:
    """Of the latencies [s]."""
    ordered = sorted(one.seconds for one in sent)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def lines(report: Report) -> Iterator[str]:
    """The report as a person reads it."""
    yield f"acknowledged {report.acknowledged} spans, stored {report.stored}"
    yield "ledger " + " ".join(f"{name} {report.ledger[name]:.0f}" for name in ("received", *PARTS, "refused"))
    yield (
        f"Postgres answered after {report.back_seconds:.1f} s; {report.waiting} spans waited and "
        f"were replayed in {report.replay_seconds:.1f} s beside live traffic"
    )
    for name in ("before", "away", "replaying", "after"):
        sent: Sequence[Sent] = getattr(report, name)
        if sent:
            p50, p99, most = (1000 * quantile(sent, share) for share in (0.5, 0.99, 1.0))
            again = sum(one.attempts - 1 for one in sent)
            times = f"p50 {p50:.1f} ms  p99 {p99:.1f} ms  longest {most:.1f} ms"
            yield f"{name:9}  {len(sent):5} bodies  {times}  sent again {again}"


def main() -> None:
    """Measure and print; exit code 1 where what is stored is not what was acknowledged."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long Postgres is stopped")
    parser.add_argument("--rate", type=float, default=500.0, help="spans per second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llm-slo-outage-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)  # the server's account passes through it
        report = asyncio.run(measure(Path(directory), arguments.rate, arguments.seconds))
    print("\n".join(lines(report)))
    sys.exit(report.acknowledged != report.stored)


if __name__ == "__main__":
    main()
