"""``python -m tests.e2e.plugin_bench``: what the plugin costs a real vLLM, in paired runs.

Two servers of one build stand beside each other, one with the plugin; only one of them has work at a time. Runs go A B B A, so
that what drifts is in both. Halfway both start anew in the other order: the one that started first was the slower one by a
quarter, whichever it was. Requests are short, for the plugin's work is per finished request. What both export is taken and
dropped by a receiver beside the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

from demo import fault_plugin
from demo.engine import Engine, EngineSettings, free_port
from demo.environment import VLLM_VERSION, ensure_environment, ensure_model
from demo.stage import MODEL
from tests.e2e.plugin.stage import install_plugin

AT_ONCE = 16
ANSWER_TOKENS = 8
PLAIN, PLUGIN = "plain", "plugin"
_FAULT = Path(fault_plugin.__file__).parent


class Run(NamedTuple):
    """One run: finished requests per second, and CPU time of the API process per request [s], where the plugin runs."""

    rate: float
    cpu_seconds: float


class Pair(NamedTuple):
    """Two runs beside each other."""

    plain: Run
    plugin: Run

    @property
    def slower(self) -> float:
        """What the plugin costs of throughput, as a share of the plain run's."""
        return 1 - self.plugin.rate / self.plain.rate

    @property
    def dearer(self) -> float:
        """What it costs of CPU time, as a share of the plain run's."""
        return self.plugin.cpu_seconds / self.plain.cpu_seconds - 1


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, list[str]]]:
    """Takes whatever is posted. Its base URL, and the paths of the posts."""
    paths: list[str] = []

    async def take(request: web.Request) -> web.Response:
        await request.read()
        paths.append(request.path)
        return web.Response()

    application = web.Application(client_max_size=2**26)
    application.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", paths
    finally:
        await runner.cleanup()


def cpu_seconds(engine: Engine) -> float:
    """CPU time that the API process has used, all of its threads."""
    fields = Path(f"/proc/{engine.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(engine: Engine, calls: int) -> Run:
    """A run with ``AT_ONCE`` callers who each wait for their answer."""
    left = iter(range(calls))

    async def caller(session: aiohttp.ClientSession) -> None:
        for number in left:
            body = {"model": MODEL, "prompt": f"{number} words", "max_tokens": ANSWER_TOKENS, "ignore_eos": True}
            async with session.post(f"{engine.url}/v1/completions", json=body) as response:
                assert response.status == 200
                await response.read()

    start, used = time.perf_counter(), cpu_seconds(engine)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as callers:
        for _ in range(AT_ONCE):
            callers.create_task(caller(session))
    return Run(calls / (time.perf_counter() - start), (cpu_seconds(engine) - used) / calls)


async def compare(directory: Path, pairs: int, calls: int) -> tuple[Sequence[Pair], int]:
    """The pairs, and how many posts the plugin's servers made beside spans of their own."""
    python = await asyncio.to_thread(ensure_environment, print)
    model = await asyncio.to_thread(ensure_model, python, print)
    plugin = await install_plugin(directory / "plugin")
    found: list[Pair] = []
    async with receiver() as (url, paths):
        for names in (PLAIN, PLUGIN), (PLUGIN, PLAIN):
            async with AsyncExitStack() as stack:
                engines = {}
                for name in names:
                    environment = {
                        "PYTHONPATH": os.pathsep.join([*([str(plugin)] if name == PLUGIN else []), str(_FAULT)]),
                        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                        "LLM_SLO_ENDPOINT": url,
                    }
                    settings = EngineSettings(python, model, directory, f"{url}/spans", name, MODEL, environment=environment)
                    engines[name] = await stack.enter_async_context(Engine(settings, print))
                    await measure(engines[name], calls)
                for number in range(pairs // 2):
                    runs = {name: await measure(engines[name], calls) for name in names[:: -1 if number % 2 else 1]}
                    found.append(Pair(runs[PLAIN], runs[PLUGIN]))
                    print(*(f"{run.rate:.1f}/s {1000 * run.cpu_seconds:.2f} ms" for run in found[-1]), sep="   ", flush=True)
        return found, paths.count("/v1/traces")


def main() -> None:
    """Print the pairs, and the difference beside the spread of the runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--calls", type=int, default=120, help="of one run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llm-slo-plugin-") as directory:
        pairs, posts = asyncio.run(compare(Path(directory), arguments.pairs, arguments.calls))
    print(
        f"vLLM {VLLM_VERSION}: runs of {arguments.calls} calls, {ANSWER_TOKENS} tokens each, {AT_ONCE} at once; {posts} posts"
    )
    _print("throughput lost", [pair.slower for pair in pairs], [pair.plain.rate for pair in pairs])
    _print("CPU time of the API process added", [pair.dearer for pair in pairs], [pair.plain.cpu_seconds for pair in pairs])


def _print(what: str, differences: Sequence[float], plain: Sequence[float]) -> None:
    mean, middle, spread = statistics.mean(differences), statistics.median(differences), statistics.stdev(differences)
    error = spread / len(differences) ** 0.5
    print(f"{what}: {mean:+.2%} ± {error:.2%} (mean of {len(differences)} pairs, its standard error), median {middle:+.2%}")
    print(f"    spread of pairs {spread:.2%}, of runs without it {statistics.stdev(plain) / statistics.mean(plain):.2%}")


if __name__ == "__main__":
    main()
