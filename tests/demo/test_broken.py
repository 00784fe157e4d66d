from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from demo import broken
from demo.broken import break_demo
from demo.fault_plugin.llm_slo_fault import TEXT, fault
from demo.order import CannotBreak
from demo.state import write_state
from demo.tenant import new_directory, write_directory
from demo.workload import TENANTS
from tests.demo.example import demo_state
from tests.demo.test_gateway import serve

# A server with an engine core below it; the name is all that tells the core.
SERVER = """
import subprocess, sys
core = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "VLLM::EngineCore"])
print(core.pid, flush=True)
core.wait()
"""


@pytest.fixture
def core(tmp_path: Path) -> Iterator[int]:
    """A demo in ``tmp_path`` with one replica; the process id of its engine core."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    core = int(server.stdout.readline())
    (tmp_path / "vllm-0.pid").write_text(f"{server.pid}\n")
    write_demo(tmp_path, "http://127.0.0.1:1")
    with server:
        yield core
        server.kill()
        if process_state(core) != "gone":
            os.kill(core, 9)


def write_demo(directory: Path, gateway_url: str) -> None:
    write_directory(directory / "keys.json", new_directory(TENANTS))
    write_state(directory, demo_state(directory, gateway_url))


def process_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def test_kill_engine_kills_the_core(core: int, tmp_path: Path) -> None:
    break_demo(tmp_path, "kill-engine", lambda line: None)
    while process_state(core) not in ("Z", "gone"):
        threading.Event().wait(0.01)


@pytest.mark.parametrize("fault", ["timeouts", "slow"])
def test_core_is_stopped_meanwhile_and_goes_on_afterwards(core: int, tmp_path: Path, fault: str) -> None:
    states = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            states.add(process_state(core))
            done.wait(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    break_demo(tmp_path, fault, lambda line: None, seconds=0.3)
    done.set()
    watcher.join()
    assert "T" in states
    assert process_state(core) in ("S", "R")


async def test_validation_sends_only_invalid_requests_of_all_tenants(
    tmp_path: Path, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broken, "_BURST_PAUSE_SECONDS", 0.001)
    write_demo(tmp_path, gateway)
    # It runs a loop of its own, as on the command line.
    thread = threading.Thread(target=break_demo, args=(tmp_path, "validation", lambda line: None))
    thread.start()
    await asyncio.to_thread(thread.join)
    lines = [json.loads(line) for line in (tmp_path / "invalid.jsonl").read_text().splitlines()]
    assert 60 == len(lines)
    assert {400} == {line["status"] for line in lines}
    assert set(TENANTS) == {line["tenant"] for line in lines}


@pytest.fixture
async def gateway() -> AsyncIterator[str]:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no"}}, status=400)

    application = web.Application()
    application.router.add_post("/v1/{rest:.*}", refuse)
    runner, url = await serve(application)
    yield url
    await runner.cleanup()


def test_replica_that_is_not_there_is_refused_with_those_that_are(core: int, tmp_path: Path) -> None:
    with pytest.raises(CannotBreak, match="there are: vllm-0"):
        break_demo(tmp_path, "kill-engine", lambda line: None, replica="vllm-7")


@pytest.mark.parametrize("fault", ["kill-engine", "oom", "slow", "timeouts"])
def test_engine_between_two_lives_is_refused(tmp_path: Path, fault: str) -> None:
    write_demo(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(CannotBreak, match="not running"):
        break_demo(tmp_path, fault, lambda line: None)


def test_oom_lasts_until_a_batch_has_failed_with_what_is_ordered(core: int, tmp_path: Path) -> None:
    failed: list[str | None] = []

    def compute() -> None:
        while not failed or failed[-1] is None:
            failed.append(fault(str(tmp_path / "vllm-0.oom")))

    engine = threading.Thread(target=compute)
    engine.start()
    break_demo(tmp_path, "oom", lambda line: None, note="a planted word")
    engine.join()
    assert f"{TEXT} a planted word" == failed[-1]
    assert fault(str(tmp_path / "vllm-0.oom")) is None


def test_oom_without_traffic_is_taken_back(core: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken, "_BATCH_SECONDS", 0.1)
    with pytest.raises(CannotBreak, match="traffic"):
        break_demo(tmp_path, "oom", lambda line: None)
    assert not (tmp_path / "vllm-0.oom").exists()
