"""A real Alertmanager on loopback, that tells one webhook."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.collector.port import free_address

_PROGRAMS = ("prometheus-alertmanager", "alertmanager")
_CONFIG = """
route:
  receiver: hook
  group_by: [alertname, cluster, environment, model]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: hook
    webhook_configs:
      - url: {url}
        send_resolved: true
"""


def program() -> str:
    """Alertmanager as Debian, or its maker, names it; a test that needs it fails where it is missing."""
    found = next((path for path in map(shutil.which, _PROGRAMS) if path), None)
    if found is None:
        raise RuntimeError("tests need Alertmanager: apt-get install prometheus-alertmanager")
    return found


@asynccontextmanager
async def alertmanager(webhook_url: str) -> AsyncIterator[str]:
    """Its base URL. It waits for nothing before it tells the webhook, and has no peers. Stopped, and forgotten, afterwards."""
    with tempfile.TemporaryDirectory(prefix="llm-slo-alertmanager-") as directory:
        config = Path(directory) / "alertmanager.yml"
        config.write_text(_CONFIG.format(url=webhook_url))
        address = free_address()
        process = await asyncio.create_subprocess_exec(
            program(),
            f"--config.file={config}",
            f"--storage.path={directory}/storage",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
            "--log.level=error",
        )
        try:
            await _ready(f"http://{address}", process)
            yield f"http://{address}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"Alertmanager ended with exit code {process.returncode}")
            try:
                async with session.get(f"{url}/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
