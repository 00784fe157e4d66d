"""A real LiteLLM proxy, started with one of its two ways of writing spans."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import aiohttp

from demo.engine import free_port

START_SECONDS = 90.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.2
_CONFIG = Path(__file__).with_name("config.yaml")


class Spans(Enum):
    """How LiteLLM writes spans; the value is the environment variable that asks for it."""

    V1 = "USE_OTEL_LITELLM_REQUEST_SPAN"
    V2 = "LITELLM_OTEL_V2"


class Proxy(NamedTuple):
    """A proxy that runs. What it says is in ``log``."""

    url: str
    log: Path


@asynccontextmanager
async def litellm(python: Path, directory: Path, spans: Spans, *, upstream: str, otlp: str) -> AsyncIterator[Proxy]:
    """Run the proxy before the fault proxy at ``upstream``.

    ``python`` is that of the environment with LiteLLM; ``otlp`` is an OTLP/HTTP receiver, without its path.
    """
    port = free_port()
    proxy = Proxy(f"http://127.0.0.1:{port}", directory / f"litellm-{spans.name.lower()}.log")
    program = [str(python), str(python.with_name("litellm"))]
    arguments = ["--config", str(_CONFIG), "--host", "127.0.0.1", "--port", str(port)]
    with proxy.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *program,
            *arguments,
            env=_environment(directory, spans, upstream, otlp),
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        await _until_ready(process, proxy)
        yield proxy
    finally:
        await _stop(process)


def _environment(directory: Path, spans: Spans, upstream: str, otlp: str) -> Mapping[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "SELF_HOSTED_URL": f"{upstream}/v1",
        "HOSTED_URL": f"{upstream}/hosted/v1",
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",
        # Nothing is fetched from elsewhere.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "OTEL_EXPORTER": "otlp_http",
        "OTEL_ENDPOINT": otlp,
        "OTEL_SERVICE_NAME": "litellm",
        # Milliseconds between two exports, which take time from the calls that go on.
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
        # Else a caller whose own trace is not sampled leaves none here either.
        "OTEL_TRACES_SAMPLER": "always_on",
        spans.value: "true",
    }


async def _until_ready(process: asyncio.subprocess.Process, proxy: Proxy) -> None:
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
        while process.returncode is None:
            with suppress(aiohttp.ClientError):
                async with session.get(f"{proxy.url}/health/readiness") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(_POLL_SECONDS)
    raise RuntimeError(f"LiteLLM ended with {process.returncode}:\n{proxy.log.read_text()[-2000:]}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
