"""An alerter in a process of its own, for tests that kill it. Run as ``python -m tests.alerts.victim CONFIG CONNINFO [STEP]``.

It says ``leads`` when it leads. With a STEP it stops for ever at that step around the first notification, and says the step's
name: what then is done, and what is not, is what a crash at that very moment leaves.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from alerts import daemon, deliver, evaluate
from alerts.alert import Step
from alerts.daemon import Vitals, run
from alerts.notify.webhook import WebhookNotifier
from alerts.store import outbox
from alerts.store.alert import write_steps
from collector.config import load_config
from collector.store.connection import Database

Call = Callable[..., Coroutine[Any, Any, Any]]

PATCH = pytest.MonkeyPatch()
STEPS = ("before the transaction", "before the commit", "before the send", "before it is marked")


async def stand_still(step: str) -> None:
    """Say where, and go no further."""
    print(step, flush=True)
    await asyncio.Event().wait()


def before(step: str, call: Call, *, when: Callable[..., bool] = lambda *_: True) -> Call:
    """The call, which is never made once ``when`` says so."""

    async def stop(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            await stand_still(step)
        return await call(*arguments, **named)

    return stop


def after(step: str, call: Call, *, when: Callable[..., bool]) -> Call:
    """The call, from which it never returns once ``when`` says so."""

    async def stop(*arguments: Any, **named: Any) -> Any:
        result = await call(*arguments, **named)
        if when(*arguments):
            await stand_still(step)
        return result

    return stop


def _tells(connection: object, steps: list[Step], *_: object) -> bool:
    return any(step.notices for step in steps)


def stop_at(step: str) -> None:
    """Arrange to stand still at a step."""
    if step == "before the transaction":
        PATCH.setattr(evaluate, "write_steps", before(step, write_steps, when=_tells))
    elif step == "before the commit":
        PATCH.setattr(evaluate, "write_steps", after(step, write_steps, when=_tells))
    elif step == "before the send":
        PATCH.setattr(WebhookNotifier, "send", before(step, WebhookNotifier.send))
    elif step == "before it is marked":
        PATCH.setattr(outbox, "settle_delivered", before(step, outbox.settle_delivered))
    else:
        raise SystemExit(f"no such step: {step}")


async def main(config: Path, conninfo: str, *steps: str) -> None:
    """Run until killed."""
    daemon.EVALUATE_SECONDS = daemon.STANDBY_SECONDS = deliver.POLL_SECONDS = 0.1
    PATCH.setattr(evaluate, "HOLD_SECONDS", 0.5)
    for step in steps:
        stop_at(step)
    vitals = Vitals()
    async with Database(conninfo, application="test") as database:
        task = asyncio.create_task(run(load_config(config), database, asyncio.Event(), vitals=vitals))
        while not vitals.leading:  # noqa: ASYNC110 - nobody tells by an event
            await asyncio.sleep(0.01)
        print("leads", flush=True)
        await task


if __name__ == "__main__":
    path, conninfo, *steps = sys.argv[1:]
    asyncio.run(main(Path(path), conninfo, *steps))
