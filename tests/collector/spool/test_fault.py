"""Faults that are real: processes that are killed, a disk that is full, a file that may not grow."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collector.spool.frame import Kind, scan
from collector.spool.journal import Journal
from tests.collector.spool.example import AT, drain

ROOT = Path(__file__).parents[3]
VICTIM = [sys.executable, "-m", "tests.collector.spool.victim"]


def survivors(directory: Path) -> list[int]:
    journal = Journal(directory)
    try:
        return drain(journal)
    finally:
        journal.close()


def test_every_acknowledged_request_is_found_after_kill_9_at_any_moment(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for life in range(4):
        with subprocess.Popen(
            [*VICTIM, "append", str(tmp_path), str(life * 1_000_000)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            said = [victim.stdout.readline() for _ in range(random.randint(1, 1_500))]
            victim.kill()
            said += [line for line in victim.stdout if line.endswith("\n")]
        acknowledged |= {int(line.split()[1]) for line in said}
    found = survivors(tmp_path / "0")
    assert len(found) == len(set(found))
    assert set() == acknowledged - set(found)
    assert len(acknowledged) > 100
    assert [] == list(tmp_path.glob("*/*.corrupt"))


def namespace() -> list[str]:
    """A command that runs others where they may mount what nobody else sees; skips where that is not allowed."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this system lets us mount nothing")
    return command


def test_full_disk_refuses_keeps_what_was_acknowledged_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=1m tmpfs "$1" && dd if=/dev/zero of="$1/ballast" bs=64k count=8 status=none '
        '&& "${@:3}" fill "$1/spool" && cp -r "$1/spool/0" "$2"'
    )
    result = subprocess.run(
        [*namespace(), "bash", "-c", script, "bash", str(disk), str(kept), *VICTIM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == result.returncode, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    assert ["the spool cannot be written: No space left on device"] * 5 == said["refusals"]
    pieces = [piece for path in sorted(kept.glob("*.segment")) for piece in scan(path.read_bytes())]
    assert {Kind.RECORD} == {piece.kind for piece in pieces}
    assert len(said["acknowledged"]) > 50
    assert said["acknowledged"] == survivors(kept)


def test_file_that_may_not_grow_is_refused_and_cut_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        journal.append([b"x" * 1_000], 0, AT)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            journal.append([b"y" * 10_000], 0, AT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        journal.close()
    (path,) = tmp_path.glob("*.segment")
    assert b"x" * 1_000 == path.read_bytes()
