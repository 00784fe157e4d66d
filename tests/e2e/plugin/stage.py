"""A real vLLM, wired as ``init --print vllm`` says, the plugin too, and ``llm-slo up`` on what ``init`` found."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from psycopg.conninfo import make_conninfo

from collector.config import Config, default_data_dir, load_config
from collector.postgres.directory import DATABASE, ROLE
from demo import fault_plugin
from demo.engine import Engine, EngineSettings
from demo.environment import PIP_INSTALL, ensure_environment, ensure_model
from demo.stage import MODEL, PREFERRED
from tests.process import Process

PLUGIN = Path(__file__).parents[3] / "vllm_plugin"
HOST = "127.0.0.1"


class Stage(NamedTuple):
    """What runs."""

    engine: Engine
    config_path: Path
    config: Config
    said: Mapping[str, Any]
    """What ``init --json`` wrote on standard output."""
    wiring: str
    """What ``init --print vllm`` wrote."""

    @property
    def replica(self) -> str:
        """The target's name."""
        return self.config.targets[0].replica_name

    @property
    def conninfo(self) -> str:
        """How to look at the daemon's data."""
        return make_conninfo(host=str(self.config.data_dir / "run"), user=ROLE, dbname=DATABASE)

    @property
    def otlp(self) -> str:
        """The OTLP/HTTP receiver."""
        return f"http://{self.config.listen.otlp_http}"


async def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert 0 == process.returncode, command
    return output.decode()


async def install_plugin(directory: Path) -> Path:
    """The plugin with its entry points, as pip installs it; for PYTHONPATH. vLLM's own environment stays as it is."""
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--target", str(directory))
    await run(sys.executable, *PIP_INSTALL, *options, str(PLUGIN))
    return directory


def exported(wiring: str) -> dict[str, str]:
    """The variables that a wiring sets, those of the plugin among them."""
    lines = [line.lstrip("# ") for line in wiring.splitlines()]
    words = [word for line in lines if line.startswith("export ") for word in line.split("#")[0].split()[1:]]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def flags(wiring: str) -> list[str]:
    """The flags that a wiring starts vLLM with, each with its value."""
    command = wiring[wiring.index("vllm serve") :].split("\n#")[0]
    return [" ".join(line.strip(" \\").split()) for line in command.splitlines()[1:]]


@contextmanager
def place(config_path: Path) -> Any:
    """Data where ``llm-slo up`` keeps it by itself, gone afterwards; elsewhere where somebody has data there."""
    usual = default_data_dir()
    if usual.exists():
        with config_path.open("a") as file:
            file.write(f"data_dir: {config_path.parent / 'data'}\n")
        yield
        return
    try:
        yield
    finally:
        shutil.rmtree(usual, ignore_errors=True)


@asynccontextmanager
async def staged(directory: Path) -> AsyncIterator[Stage]:
    """vLLM, then the daemon on what ``init`` found. Nothing forwards vLLM's log."""
    python = await asyncio.to_thread(ensure_environment, print)
    model = await asyncio.to_thread(ensure_model, python, print)
    program, config_path = (sys.executable, "-m", "llm_slo", "init"), directory / "llm-slo.yaml"
    # No file yet: placeholders stand for what the operator knows.
    wiring = await run(*program, "--output", str(config_path), "--print", "vllm")
    wiring = wiring.replace("HOST:8000", f"{HOST}:{PREFERRED['engine']}").replace("MODEL", MODEL)
    plugin = await install_plugin(directory / "plugin")
    paths = os.pathsep.join([str(plugin), str(Path(fault_plugin.__file__).parent)])
    settings = EngineSettings(
        python=python,
        model=model,
        directory=directory,
        otlp_endpoint=flags(wiring)[0].split()[1],
        replica="vllm-0",
        served_name=MODEL,
        port=PREFERRED["engine"],
        environment={**exported(wiring), "PYTHONPATH": paths, "OTEL_BSP_SCHEDULE_DELAY": "1000"},
    )
    async with Engine(settings, print) as engine:
        said = json.loads(await run(*program, "--output", str(config_path), "--json"))
        with place(config_path):
            daemon = Process("up", config_path, load_config(config_path).listen.web)
            daemon.start()
            try:
                async with aiohttp.ClientSession() as session:
                    await daemon.ready(session)
                yield Stage(engine, config_path, load_config(config_path), said, wiring)
            finally:
                await daemon.stop()
