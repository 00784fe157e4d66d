"""An outage of Postgres under load, in short; ``python -m tests.e2e.outage`` is the long form, with times. And a full disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from demo.outage import disk_full, postgres_stopped
from tests.collector.otlp_body import body, chat_span
from tests.e2e.outage import measure, up
from tests.process import PARTS, PROTOBUF, ledger, send_until_acknowledged, until

# The loop of the demo: while another one runs, its pager and its traffic stand still.
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where the server's account passes."""
    with tempfile.TemporaryDirectory(prefix="llm-slo-outage-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_everything_that_was_acknowledged_is_stored_once_postgres_is_back(directory: Path) -> None:
    report = await measure(directory, spans_per_second=200, seconds=5, around_seconds=2)
    assert report.waiting > 0
    assert report.acknowledged == report.stored == report.ledger["received"]
    assert report.ledger["received"] == sum(report.ledger[name] for name in PARTS)


async def test_senders_are_told_to_wait_while_the_disk_is_full_even_where_the_log_is_on_it_too(directory: Path) -> None:
    bodies = [body([chat_span(number, datetime.now(UTC))]) for number in range(4)]
    with up(directory) as (pid, listen):
        url = f"http://{listen['otlp_http']}/v1/traces"
        async with aiohttp.ClientSession() as session:

            async def stored() -> bool:
                return (await ledger(session, listen["web"]))["rows"] == len(bodies)

            async def ready() -> bool:
                async with session.get(f"http://{listen['web']}/readyz") as response:
                    return response.status == 200

            await until(ready)
            await send_until_acknowledged(session, url, bodies[0])
            with postgres_stopped(directory / "data", 60), disk_full(pid):
                for data in bodies[1:]:
                    async with session.post(url, data=data, headers=PROTOBUF, timeout=aiohttp.ClientTimeout(30)) as response:
                        assert 503 == response.status
                        assert int(response.headers["Retry-After"]) > 0
            for data in bodies[1:]:
                await send_until_acknowledged(session, url, data)
            await until(stored)
