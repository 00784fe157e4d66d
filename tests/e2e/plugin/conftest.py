"""One vLLM with the plugin for everything here, gone before the demo starts another: this directory is collected first."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.e2e.plugin.stage import Stage, staged


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    """vLLM with the plugin, and the daemon on what ``init`` wrote."""
    with tempfile.TemporaryDirectory(prefix="llm-slo-plugin-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)  # the server's account passes through it
        async with staged(Path(directory)) as stage:
            yield stage
