"""The whole demo as one context: daemon, vLLM, gateway and pager, started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import yaml
from psycopg.conninfo import make_conninfo

from collector.config import Config, load_config
from collector.postgres.directory import DATABASE, ROLE
from demo.engine import Engine, EngineSettings
from demo.environment import ensure_environment, ensure_model
from demo.forward import forwarding
from demo.pager import Pager
from demo.state import RECORD, Replica, State, remove_state, write_state
from demo.tenant import new_directory, write_directory
from demo.workload import TENANTS

MODEL = "tiny"
REPLICA = "vllm-0"
DEADLINE_SECONDS = 20.0
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.2
PREFERRED = {"otlp_grpc": 4317, "otlp_http": 4318, "web": 9464, "alerter": 9465, "gateway": 8080, "engine": 8000, "pager": 9093}
"""Ports that are used where nobody else does."""

Progress = Callable[[str], None]


class DemoFailed(Exception):
    """A part of the demo did not come up; the message names it and its log."""


class Demo(NamedTuple):
    """A demo that runs."""

    directory: Path
    config_path: Path
    config: Config
    engine: Engine
    pager: Pager
    gateway_url: str
    keys_file: Path

    @property
    def record(self) -> Path:
        """What the clients saw, one JSON line per call."""
        return self.directory / RECORD

    @property
    def conninfo(self) -> str:
        """How to look at the daemon's data."""
        return make_conninfo(host=str(self.config.data_dir / "run"), user=ROLE, dbname=DATABASE)


@asynccontextmanager
async def staged(directory: Path, progress: Progress, *, alertmanagers: Sequence[str] = ()) -> AsyncIterator[Demo]:
    """Everything but the traffic. ``alertmanagers`` are URLs of those that are told beside the pager.

    :raises DemoFailed: when a part does not come up
    :raises demo.environment.EnvironmentFailed: when vLLM cannot be installed
    :raises demo.engine.EngineFailed: when vLLM does not come up
    """
    python = await asyncio.to_thread(ensure_environment, progress)
    model = await asyncio.to_thread(ensure_model, python, progress)
    ports = {name: _port(preferred) for name, preferred in PREFERRED.items()}
    config_path, keys_file = _write_files(directory, ports, alertmanagers)
    pager = Pager(directory / "pages.jsonl")
    settings = EngineSettings(
        python=python,
        model=model,
        directory=directory,
        otlp_endpoint=f"http://127.0.0.1:{ports['otlp_grpc']}",
        replica=REPLICA,
        served_name=MODEL,
        port=ports["engine"],
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pager.serve(ports["pager"]))
        progress("starting llm-slo on an embedded Postgres")
        daemon = [sys.executable, "-m", "llm_slo", "up", "--config", str(config_path)]
        ready_url = f"http://127.0.0.1:{ports['web']}/readyz"
        daemon_pid = await stack.enter_async_context(_process("llm-slo", daemon, directory, ready_url))
        engine = Engine(settings, progress)
        resource = {"llm_slo.replica": REPLICA, "llm_slo.model": MODEL}
        receiver = f"http://127.0.0.1:{ports['otlp_http']}"
        await stack.enter_async_context(forwarding(engine.log, receiver, resource, progress))
        await stack.enter_async_context(engine)
        gateway_url = f"http://127.0.0.1:{ports['gateway']}"
        progress(f"starting the gateway on {gateway_url}")
        gateway = _gateway(engine, ports, keys_file)
        gateway_pid = await stack.enter_async_context(_process("gateway", gateway, directory, f"{gateway_url}/health"))
        demo = Demo(directory, config_path, load_config(config_path), engine, pager, gateway_url, keys_file)
        write_state(directory, _state(demo, gateway_pid, daemon_pid, ports["pager"]))
        stack.callback(remove_state, directory)
        yield demo


def _write_files(directory: Path, ports: dict[str, int], alertmanagers: Sequence[str]) -> tuple[Path, Path]:
    """The daemon's configuration, and the gateway's keys."""
    directory.mkdir(parents=True, exist_ok=True)
    config_path, keys_file = directory / "llm-slo.yaml", directory / "keys.json"
    config_path.write_text(_configuration(directory, ports, alertmanagers))
    write_directory(keys_file, new_directory(TENANTS))
    return config_path, keys_file


def _configuration(directory: Path, ports: dict[str, int], alertmanagers: Sequence[str]) -> str:
    listen = {name: f"127.0.0.1:{ports[name]}" for name in ("otlp_grpc", "otlp_http", "web", "alerter")}
    return yaml.safe_dump(
        {
            "data_dir": str(directory / "data"),
            "environment": "demo",
            "listen": listen,
            "targets": [
                {"url": f"http://127.0.0.1:{ports['engine']}", "replica": REPLICA, "model": MODEL, "scrape_seconds": 5},
            ],
            "sinks": {
                "webhooks": [{"name": "pager", "url": f"http://127.0.0.1:{ports['pager']}/"}],
                "alertmanagers": [{"name": f"alertmanager-{number}", "url": url} for number, url in enumerate(alertmanagers)],
            },
        },
        sort_keys=False,
    )


def _gateway(engine: Engine, ports: dict[str, int], keys_file: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "demo.gateway"),
        *("--listen", f"127.0.0.1:{ports['gateway']}"),
        *("--upstream", f"{REPLICA}={engine.url}"),
        *("--otlp", f"http://127.0.0.1:{ports['otlp_http']}"),
        *("--keys", str(keys_file)),
        *("--deadline-seconds", str(DEADLINE_SECONDS)),
    ]


def _state(demo: Demo, gateway_pid: int, daemon_pid: int, pager_port: int) -> State:
    engine, listen = demo.engine, demo.config.listen
    replica = Replica(
        name=REPLICA, url=engine.url, pid_file=str(engine.pid_file), log=str(engine.log), oom_file=str(engine.oom_file)
    )
    return State(
        demo_pid=os.getpid(),
        gateway_url=demo.gateway_url,
        gateway_pid=gateway_pid,
        keys_file=str(demo.keys_file),
        deadline_seconds=DEADLINE_SECONDS,
        model=MODEL,
        daemon_pid=daemon_pid,
        data_dir=str(demo.config.data_dir),
        conninfo=demo.conninfo,
        collector_url=f"http://{listen.web}",
        alerter_url=f"http://{listen.alerter}",
        pager_url=f"http://127.0.0.1:{pager_port}",
        replicas=(replica,),
    )


@asynccontextmanager
async def _process(name: str, command: Sequence[str], directory: Path, ready_url: str) -> AsyncIterator[int]:
    """A process that answers at ``ready_url``; its output is in a log. Yields its process id."""
    log = directory / f"{name}.log"
    async with _writer(log) as output:
        # A session of its own: Ctrl-C in a terminal reaches the demo alone, which stops its parts in order.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        await _until_ready(name, process, ready_url, log)
        yield process.pid
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


@asynccontextmanager
async def _writer(log: Path) -> AsyncIterator[int]:
    """A pipe into a log, as a service manager keeps it: who may write no file (``break disk-full``) can still say so.

    The process that writes it ends with the last one that has the pipe, and so outlives a demo that was killed.
    """
    end, output = os.pipe()
    try:
        with log.open("ab") as file:
            await asyncio.create_subprocess_exec("cat", stdin=end, stdout=file, start_new_session=True)
        yield output
    finally:
        os.close(end)
        os.close(output)


async def _until_ready(name: str, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    try:
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while process.returncode is None:
                try:
                    async with session.get(url) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise DemoFailed(f"{name} is not ready after {START_SECONDS:.0f} s; its log is {log}") from None
    raise DemoFailed(f"{name} ended with exit code {process.returncode}; its log is {log}")


def _port(preferred: int) -> int:
    """The preferred port, or a free one where that is taken."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            number = probe.getsockname()[1]
            assert isinstance(number, int)
            return number
    raise DemoFailed("no free port on 127.0.0.1")
