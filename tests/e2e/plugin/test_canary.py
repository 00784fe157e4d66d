"""The canary's call, as a real vLLM takes it."""

from __future__ import annotations

from datetime import UTC, datetime

import aiohttp
import pytest

from collector import config
from collector.canary import Canary
from collector.event import Event
from collector.request import Outcome, Request
from demo.stage import MODEL
from tests.e2e.plugin.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_one_token_call_is_answered(stage: Stage) -> None:
    kept: list[Request] = []

    async def keep(row: Request, events: tuple[Event, ...]) -> None:
        kept.append(row)
        assert () == events

    async with aiohttp.ClientSession() as client:
        setting = config.Canary(interval_seconds=60)
        place = ("default", "production")
        target = stage.config.targets[0]
        await Canary(target, setting, client, lambda: MODEL, keep, lambda: datetime.now(UTC), place=place).probe()
    (row,) = kept
    assert (Outcome.OK, 200, stage.replica) == (row.outcome, row.http_status, row.replica)
    print(f"answered in {1000 * (row.latency_seconds or 0):.0f} ms")
