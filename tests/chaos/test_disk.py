"""The disk of the spool is full while Postgres is away: nothing is acknowledged that is not kept, and nothing hangs."""

from __future__ import annotations

import asyncio
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.alerts.gate import gate
from tests.chaos.conftest import Form
from tests.chaos.site import BURN, ENGINE_DEAD, site
from tests.process import until

pytestmark = pytest.mark.chaos

ROOM_BYTES = 128 * 1024


@contextmanager
def small_disk(directory: Path) -> Iterator[Callable[[], None] | None]:
    """Little room in a directory: a file system of its own where this may be mounted, else a limit on every file's size.

    Yields what a process has to do before it begins, if anything.
    """
    directory.mkdir(parents=True)
    refusal = _mount(directory)
    if refusal is None:
        print(f"the spool's disk is full: a tmpfs of {ROOM_BYTES} bytes")
        try:
            yield None
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)
        return
    print(f"the spool's disk is full: files of at most {ROOM_BYTES} bytes, since nothing can be mounted: {refusal}")
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))


def _mount(directory: Path) -> str | None:
    """Mount a small file system; why that cannot be, where it cannot."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES},mode=0700", "tmpfs", str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else None


async def test_disk_full(database: str, tmp_path: Path, random: Random, form: Form) -> None:
    async with gate(database) as way:
        with small_disk(tmp_path / "collector-0" / "spool") as limit:
            async with site(tmp_path, database, random, way=way.conninfo) as on:
                collector = on.add_collector(limit)
                on.add_alerter()
                await on.ready()
                async with on.load() as load:

                    async def refused() -> bool:
                        return (await collector.counts(on.session, "llm_slo_spans_"))["refused"] > 0

                    await way.shut()
                    await load.plant()
                    await on.engine.die()
                    await until(refused)
                    await asyncio.sleep(form.outage_seconds)
                    await way.open()
                    await on.told(BURN)
                    await on.told(ENGINE_DEAD)
                await on.balanced(load, counted=True)
