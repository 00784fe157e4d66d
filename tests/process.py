"""Processes of llm-slo as tests run them: started, asked, killed, and sent to as an exporter does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from prometheus_client.parser import text_string_to_metric_families

START_SECONDS = 60
PARTS = ("rows", "merged", "ignored", "duplicate", "rejected", "pending")
"""What became of every span that was received."""
_AGAIN_SECONDS = 0.1
"""Less than any exporter waits, so that the moment in which a collector is back is not missed."""
PROTOBUF = {"Content-Type": "application/x-protobuf"}


async def until(what: Callable[[], Awaitable[Any]], seconds: float = START_SECONDS) -> Any:
    """Ask again and again until there is an answer: the processes live in another world, whose clock is not ours."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                answer = await what()
                if answer:
                    return answer
            except (aiohttp.ClientError, psycopg.OperationalError):
                pass
            await asyncio.sleep(0.05)


async def send_until_acknowledged(session: aiohttp.ClientSession, url: str, data: bytes) -> int:
    """Send one body as an exporter does, again and again until it is taken. Returns how often it was sent."""
    attempts = 0
    while True:
        attempts += 1
        try:
            async with session.post(url, data=data, headers=PROTOBUF) as response:
                if response.status == 200:
                    return attempts
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(_AGAIN_SECONDS)


async def counts(session: aiohttp.ClientSession, address: str, prefix: str) -> dict[str, float]:
    """What /metrics at an address says under names that begin with ``prefix``, summed over labels, without the prefix."""
    async with session.get(f"http://{address}/metrics") as response:
        text = await response.text()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith(prefix):
            values = (sample.value for sample in family.samples if not sample.name.endswith("_created"))
            sums[family.name.removeprefix(prefix)] = sum(values)
    return sums


async def ledger(session: aiohttp.ClientSession, address: str) -> dict[str, float]:
    """The counts of spans."""
    return await counts(session, address, "llm_slo_spans_")


class Process:
    """``llm-slo VERB`` with a configuration file. ``address`` is where it says how it is; its log is a file.

    ``entry`` is a module that stands in for the program, with the arguments that come before its own.
    """

    def __init__(
        self,
        verb: str,
        config: Path,
        address: str,
        environment: Mapping[str, str] | None = None,
        entry: Sequence[str] = ("llm_slo",),
    ) -> None:
        self._command = [sys.executable, "-m", *entry, verb, "--config", str(config)]
        self._environment = os.environ | (environment or {})
        self._running: subprocess.Popen[bytes] | None = None
        self.address = address
        self.log = config.with_suffix(".log")

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._running is not None and self._running.poll() is None

    def start(self, before: Callable[[], None] | None = None) -> None:
        """Start it. ``before`` is done in the new process first."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(self._command, env=self._environment, stderr=log, preexec_fn=before)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._running is not None
        self._running.send_signal(number)

    async def kill(self) -> None:
        """With SIGKILL: it may do nothing more."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to end. Returns its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        assert self._running is not None
        self._running.send_signal(number)
        return await asyncio.to_thread(self._running.wait, START_SECONDS)

    async def counts(self, session: aiohttp.ClientSession, prefix: str) -> dict[str, float]:
        """What it counts, under names that begin with ``prefix``."""
        return await counts(session, self.address, prefix)

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Until it does its work."""

        async def answers() -> bool:
            if not self.lives:
                raise RuntimeError(f"ended with {self._running and self._running.returncode}:\n{self.log.read_text()[-2000:]}")
            async with session.get(f"http://{self.address}/readyz") as response:
                return response.status == 200

        await until(answers)
