"""What is running in a demo, written where ``llm-slo demo break`` and the tests find it: one JSON file in its directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

FILE = "state.json"
RECORD = "clients.jsonl"
"""What the clients saw, one JSON line per call; in the demo's directory."""


class NoDemo(Exception):
    """There is no demo in that directory; the message says how to start one."""


class Replica(NamedTuple):
    """One vLLM server."""

    name: str
    url: str
    pid_file: str
    """Holds the process id of the server; written anew at each start, since a supervisor restarts it."""
    log: str
    oom_file: str
    """Makes its next batch fail for want of memory, when it is there (see ``demo.fault_plugin``)."""


class State(NamedTuple):
    """Everything that something outside the demo needs to know of it. Paths are absolute."""

    demo_pid: int
    """The process that supervises all others."""
    gateway_url: str
    gateway_pid: int
    keys_file: str
    deadline_seconds: float
    """Of the gateway: a call that takes longer is answered 504."""
    model: str
    """Name that the replicas serve."""
    daemon_pid: int
    """Of ``llm-slo up``."""
    data_dir: str
    """Of the daemon: its Postgres and its spool."""
    conninfo: str
    """How to look at what it keeps."""
    collector_url: str
    alerter_url: str
    pager_url: str
    replicas: tuple[Replica, ...]


def write_state(directory: Path, state: State) -> None:
    """Replace the file as a whole: a reader never sees half of it."""
    content = {**state._asdict(), "replicas": [replica._asdict() for replica in state.replicas]}
    new = directory / f"{FILE}.new"
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(directory / FILE)


def read_state(directory: Path) -> State:
    """The demo that runs in ``directory``. Raises NoDemo when none does."""
    try:
        content = json.loads((directory / FILE).read_text())
    except FileNotFoundError:
        raise NoDemo(f"no demo runs in {directory}: start one with `make demo`") from None
    state = State(**{**content, "replicas": tuple(Replica(**replica) for replica in content["replicas"])})
    if not _is_alive(state.demo_pid):
        raise NoDemo(f"the demo in {directory} has ended: start one with `make demo`")
    return state


def remove_state(directory: Path) -> None:
    """Say that the demo has ended; again is harmless."""
    (directory / FILE).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
