"""A real vLLM server on the CPU: started, watched, restarted when it dies, and stopped with everything below it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp

from demo import fault_plugin
from demo.fault_plugin.llm_slo_fault import TRIGGER
from demo.process_tree import engine_core

Progress = Callable[[str], None]

_START_SECONDS = 300.0
_POLL_SECONDS = 0.5
_STILL_SECONDS = 10.0
_RESTART_SECONDS = 1.0
_STOP_SECONDS = 10.0
_GONE_SECONDS = 0.02
_TAIL_LINES = 15

# The kernel tells the server when the demo dies, even by kill -9: 3 GB would stay behind otherwise. And vLLM's processes
# spin between batches: they get all cores but one, else what gateway and clients measure is late by up to 170 ms, seen on
# two cores, where it is 6 ms so.
_LAUNCH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
os.nice(10)
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[1:] or os.sched_getaffinity(0))
os.execv(sys.argv[1], sys.argv[1:])
"""

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "OTEL_SERVICE_NAME": "vllm",
    # Of an export with all its retries: a batch must outlive a time in which the collector asks to wait.
    "OTEL_EXPORTER_OTLP_TIMEOUT": "300",
}


class EngineFailed(Exception):
    """The server did not come up; the message holds the end of its log."""


class EngineSettings(NamedTuple):
    """What one server is started with."""

    python: Path
    """Of the environment that has vLLM."""
    model: Path
    """Directory of the model."""
    directory: Path
    """Log and pid file go here."""
    otlp_endpoint: str
    """An OTLP/gRPC receiver of spans, like http://127.0.0.1:4317."""
    replica: str = "vllm-0"
    served_name: str = "tiny"
    port: int | None = None
    """On loopback; a free one when None."""
    environment: Mapping[str, str] = {}
    """Added to the server's environment variables."""


class Life(NamedTuple):
    """One run of the server, from start to death. ``ready`` and ``ended`` are None as long as they have not happened."""

    started: datetime
    ready: datetime | None = None
    ended: datetime | None = None
    exit_status: int | None = None
    """As of asyncio's subprocess: negative for the signal that killed it."""


class Engine:
    """Async context manager: entered when the server answers; left when no process of it is there any more."""

    def __init__(self, settings: EngineSettings, progress: Progress) -> None:
        self.settings = settings
        self.port = settings.port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = settings.directory / f"{settings.replica}.log"
        self.pid_file = settings.directory / f"{settings.replica}.pid"
        self.oom_file = settings.directory / f"{settings.replica}.oom"
        self.lives: list[Life] = []
        self._progress = progress
        self._changed = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the server; None between two lives."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def core_pid(self) -> int | None:
        """Process id of the engine core."""
        return engine_core(self.pid) if self.pid is not None else None

    async def __aenter__(self) -> Self:
        self.settings.directory.mkdir(parents=True, exist_ok=True)
        try:
            await self._start()
        except BaseException:
            await self._kill()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name=f"supervise {self.settings.replica}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        await self._kill()
        self.pid_file.unlink(missing_ok=True)

    async def wait_for_life(self, count: int) -> Life:
        """The ``count``-th life (from 1) once it is ready. Waits without an end: give it a timeout."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.lives) >= count and self.lives[count - 1].ready is not None)
        return self.lives[count - 1]

    async def _start(self) -> None:
        name = self.settings.replica
        self._progress(f"{name}: starting vLLM on {self.url} (30 to 90 s; log in {self.log})")
        begun = time.monotonic()
        self.lives.append(Life(_now()))
        # What was ordered of an earlier life is not meant for this one.
        self.oom_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_command(self.settings, self.port),
                env={**os.environ, **_environment(self.settings, self.oom_file)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid_file.write_text(f"{self._process.pid}\n")
        await self._wait_for_health(begun)
        self.lives[-1] = self.lives[-1]._replace(ready=_now())
        async with self._changed:
            self._changed.notify_all()
        self._progress(f"{name}: ready after {time.monotonic() - begun:.0f} s")

    async def _wait_for_health(self, begun: float) -> None:
        said = begun
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
            while not await _is_healthy(session, self.url):
                now = time.monotonic()
                if self.pid is None:
                    raise EngineFailed(
                        f"{self.settings.replica} ended while it started. The end of {self.log}:\n{_tail(self.log)}"
                    )
                if now - begun > _START_SECONDS:
                    raise EngineFailed(f"{self.settings.replica} is not up after {_START_SECONDS:.0f} s: see {self.log}")
                if now - said > _STILL_SECONDS:
                    said = now
                    self._progress(f"{self.settings.replica}: {now - begun:.0f} s so far")
                await asyncio.sleep(_POLL_SECONDS)

    async def _supervise(self) -> None:
        while True:
            assert self._process is not None
            status = await self._process.wait()
            self.lives[-1] = self.lives[-1]._replace(ended=_now(), exit_status=status)
            self._progress(f"{self.settings.replica}: vLLM died (exit status {status}); starting it again")
            await self._kill()
            await asyncio.sleep(_RESTART_SECONDS)
            try:
                await self._start()
            except EngineFailed as error:
                self._progress(str(error))
                await self._kill()

    async def _kill(self) -> None:
        """End the whole group: SIGTERM first, so that the server can let go of its shared memory."""
        if self._process is None:
            return
        group = self._process.pid
        for number in (signal.SIGCONT, signal.SIGTERM):
            with suppress(ProcessLookupError):
                os.killpg(group, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        # Its children are nobody's to wait for: a signal to a group that is gone is how their end is seen.
        with suppress(ProcessLookupError, TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                while True:
                    os.killpg(group, signal.SIGKILL)
                    await asyncio.sleep(_GONE_SECONDS)
        await self._process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _command(settings: EngineSettings, port: int) -> Sequence[str]:
    python = str(settings.python)
    flags = (
        "--enable-prefix-caching --enable-chunked-prefill --enforce-eager --enable-prompt-tokens-details "
        "--enable-force-include-usage --enable-request-id-headers --dtype bfloat16 --max-model-len 2048 --max-num-seqs 32"
    )
    return [
        *(python, "-c", _LAUNCH),
        *(str(settings.python.parent / "vllm"), "serve", str(settings.model)),
        *("--served-model-name", settings.served_name, "--host", "127.0.0.1", "--port", str(port)),
        *("--otlp-traces-endpoint", settings.otlp_endpoint),
        *flags.split(),
    ]


def _environment(settings: EngineSettings, oom_file: Path) -> Mapping[str, str]:
    resource = f"llm_slo.replica={settings.replica},llm_slo.model={settings.served_name}"
    path = f"{settings.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    plugins = [str(Path(fault_plugin.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **_ENVIRONMENT,
        "OTEL_RESOURCE_ATTRIBUTES": resource,
        "PATH": path,
        "PYTHONPATH": os.pathsep.join(plugins),
        TRIGGER: str(oom_file.absolute()),
        **settings.environment,
    }


async def _is_healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


def _now() -> datetime:
    return datetime.now(UTC)
