from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.state import NoDemo, State, read_state, remove_state, write_state
from tests.demo.example import demo_state


def state(pid: int) -> State:
    return demo_state(Path("/tmp"), "http://127.0.0.1:2", pid=pid)


def test_state_survives_its_file(tmp_path: Path) -> None:
    write_state(tmp_path, state(os.getpid()))
    assert state(os.getpid()) == read_state(tmp_path)


def test_directory_without_a_demo_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoDemo, match="make demo"):
        read_state(tmp_path)


def test_demo_that_died_is_no_demo(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_state(tmp_path, state(ended.pid))
    with pytest.raises(NoDemo, match="has ended"):
        read_state(tmp_path)


def test_removing_twice_is_harmless(tmp_path: Path) -> None:
    write_state(tmp_path, state(os.getpid()))
    remove_state(tmp_path)
    remove_state(tmp_path)
    with pytest.raises(NoDemo):
        read_state(tmp_path)
