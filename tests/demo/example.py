"""A demo's state, made by hand."""

from __future__ import annotations

import os
from pathlib import Path

from demo.state import Replica, State

NOBODY = "http://127.0.0.1:1"


def demo_state(directory: Path, gateway_url: str = NOBODY, *, pid: int | None = None, pager_url: str = NOBODY) -> State:
    """A demo with one replica; all its files are in ``directory``. It runs as this process unless ``pid`` says otherwise."""
    files = {name: str(directory / f"vllm-0.{suffix}") for name, suffix in FILES.items()}
    return State(
        demo_pid=os.getpid() if pid is None else pid,
        gateway_url=gateway_url,
        gateway_pid=1,
        keys_file=str(directory / "keys.json"),
        deadline_seconds=0.2,
        model="tiny",
        daemon_pid=os.getpid(),
        data_dir=str(directory / "data"),
        conninfo="",
        collector_url=NOBODY,
        alerter_url=NOBODY,
        pager_url=pager_url,
        replicas=(Replica(name="vllm-0", url=NOBODY, **files),),
    )


FILES = {"pid_file": "pid", "log": "log", "oom_file": "oom"}
