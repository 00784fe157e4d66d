"""Processes below a process, read from /proc."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")
_PARENT = 1
"""Index of the parent's id among the fields that follow the name in /proc/PID/stat."""


def descendants(pid: int) -> list[int]:
    """The ids of all processes below ``pid``, nearest first."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += sorted(children.get(one, ()))
    return found[1:]


def title(pid: int) -> str:
    """The command line of a process, or what the process chose to be called; empty when it is gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def engine_core(server_pid: int) -> int | None:
    """The process id of the engine core below a vLLM server: the one that holds the model and runs the batches."""
    return next((pid for pid in descendants(server_pid) if "EngineCore" in title(pid)), None)


def _parent(entry: Path) -> int | None:
    try:
        content = (entry / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name is in brackets and may hold spaces and brackets itself.
    return int(content.rpartition(")")[2].split()[_PARENT])
