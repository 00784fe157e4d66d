from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from demo.engine import Engine, EngineFailed, EngineSettings
from demo.process_tree import title
from tests.demo.fake_vllm import install


def settings(directory: Path, **environment: str) -> EngineSettings:
    python = install(directory / "bin")
    return EngineSettings(python, directory / "model", directory / "run", "http://127.0.0.1:1", environment=environment)


def is_running(pid: int) -> bool:
    """Zombies have no command line."""
    return title(pid) != ""


async def test_killed_engine_core_is_seen_and_the_server_is_started_again(tmp_path: Path) -> None:
    async with Engine(settings(tmp_path), lambda line: None) as engine:
        assert engine.core_pid is not None
        first = engine.pid
        os.kill(engine.core_pid, signal.SIGKILL)
        second = await asyncio.wait_for(engine.wait_for_life(2), 20)
        assert engine.pid not in (None, first)
        assert str(engine.pid) == engine.pid_file.read_text().strip()
    died = engine.lives[0]
    assert died.ready is not None
    assert died.ended is not None
    assert second.ready is not None
    assert died.started < died.ready < died.ended < second.started < second.ready


async def test_nothing_is_left_when_it_is_stopped(tmp_path: Path) -> None:
    async with Engine(settings(tmp_path), lambda line: None) as engine:
        pids = [engine.pid, engine.core_pid]
        # A stopped process would not hear a SIGTERM.
        os.kill(pids[1] or 0, signal.SIGSTOP)
    assert [False, False] == [is_running(pid or 0) for pid in pids]
    assert not engine.pid_file.exists()


async def test_server_knows_which_replica_it_is(tmp_path: Path) -> None:
    async with Engine(settings(tmp_path), lambda line: None) as engine:
        assert "replica llm_slo.replica=vllm-0,llm_slo.model=tiny" in engine.log.read_text()


async def test_server_finds_the_plugin_that_simulates_faults(tmp_path: Path) -> None:
    async with Engine(settings(tmp_path), lambda line: None) as engine:
        assert "plugins [('llm_slo_fault', 'register')]" in engine.log.read_text()


async def test_fault_that_was_ordered_of_an_earlier_life_is_forgotten(tmp_path: Path) -> None:
    one = Engine(settings(tmp_path), lambda line: None)
    one.oom_file.parent.mkdir()
    one.oom_file.touch()
    async with one:
        assert not one.oom_file.exists()


async def test_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="no room for the model"):
        async with Engine(settings(tmp_path, FAKE_VLLM="broken"), lambda line: None):
            pass
