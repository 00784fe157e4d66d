"""One demo for all tests of a session: a real vLLM takes half a minute to start."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.stage import Demo, staged
from tests.alerts.receiver import Receiver, receiving
from tests.e2e.alertmanager import alertmanager


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the real parts, and shares one event loop with the demo."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def on_call() -> AsyncIterator[Receiver]:
    """Whom the demo's Alertmanager tells."""
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def demo(on_call: Receiver) -> AsyncIterator[Demo]:
    """vLLM, daemon, gateway, pager and a real Alertmanager, with no traffic."""
    with tempfile.TemporaryDirectory(prefix="llm-slo-e2e-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)  # the server's account passes through it
        async with (
            alertmanager(on_call.url) as url,
            staged(Path(directory), lambda step: print(step, flush=True), alertmanagers=[url]) as demo,
        ):
            yield demo
