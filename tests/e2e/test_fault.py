"""Faults of what the daemon watches and of what it stands on, on real parts. Each test leaves the demo whole."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from rich.console import Console

from demo.broken import break_demo
from demo.live import View, render
from demo.run import view
from demo.stage import MODEL, REPLICA, Demo
from demo.tenant import keys_by_tenant, read_directory
from tests.alerts.receiver import Receiver
from tests.collector.otlp_body import body, chat_span
from tests.e2e.scene import alert_told, clients, files_with, query, spooled, until
from tests.process import PROTOBUF

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT = "xylophonic-quokka-prompt"
ERROR = "gloaming-narwhal-error"
PAGED_SECONDS = 20.0
RESTARTED_SECONDS = 240.0
RESOLVED_SECONDS = 60.0


def shown(live: View) -> str:
    """A frame as it is in a terminal."""
    console = Console(file=StringIO(), width=200)
    console.print(render(live))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


async def break_(demo: Demo, fault: str, **options: Any) -> list[str]:
    """Cause a fault; what the command said when it was over."""
    said: list[str] = []
    await asyncio.to_thread(break_demo, demo.directory, fault, said.append, **options)
    print("\n".join(said))
    return said


async def plant(demo: Demo) -> None:
    """A prompt through the gateway, and an error text from a sender that puts it wherever one can be."""
    key = next(iter(keys_by_tenant(read_directory(demo.keys_file)).values()))
    failed = chat_span(1, datetime.now(UTC), error__type="500", exception__message=ERROR, gen_ai__prompt=PROMPT)
    failed.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=f"the engine failed: {ERROR}"))
    async with aiohttp.ClientSession() as session:
        for tokens in (4, -1):
            call = {"model": MODEL, "max_tokens": tokens, "messages": [{"role": "user", "content": PROMPT}]}
            headers = {"Authorization": f"Bearer {key}"}
            async with session.post(f"{demo.gateway_url}/v1/chat/completions", json=call, headers=headers) as response:
                await response.read()
        url = f"http://{demo.config.listen.otlp_http}/v1/traces"
        async with session.post(url, data=body([failed]), headers=PROTOBUF) as response:
            assert 200 == response.status


async def metrics(demo: Demo) -> str:
    """Both pages of the daemon."""
    text = ""
    async with aiohttp.ClientSession() as session:
        for address in (demo.config.listen.web, demo.config.listen.alerter):
            async with session.get(f"http://{address}/metrics") as response:
                text += await response.text()
    return text


async def test_while_postgres_is_down_everything_acknowledged_is_spooled_without_texts_and_stored_later(demo: Demo) -> None:
    async with clients(demo, seed=21):
        await asyncio.sleep(2.0)
        broken = asyncio.create_task(break_(demo, "postgres-down", seconds=10))

        async def away() -> View | None:
            live = await view(demo, datetime.now(UTC))
            pending = 0 if live.vitals.collector is None else live.vitals.collector.pending
            return live if live.picture is None and pending else None

        live = await until(20, away, "Postgres did not go away")
        assert "Postgres is away" in shown(live)
        await plant(demo)

        async def planted() -> tuple[int, str] | None:
            found = spooled(demo)
            return found if MODEL in found[1] and "SERVER_ERROR" in found[1] else None

        count, text = await until(10, planted, "nothing is in the spool")
        assert count > 0
        assert [] == [word for word in (PROMPT, ERROR) if word in text]
        assert any("nothing was lost" in line for line in await broken)


async def test_while_the_disk_is_full_senders_are_told_to_wait_and_lose_nothing(demo: Demo) -> None:
    async with clients(demo, seed=22):
        await asyncio.sleep(2.0)
        broken = asyncio.create_task(break_(demo, "disk-full", seconds=8))

        async def told_to_wait() -> str | None:
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    f"http://{demo.config.listen.otlp_http}/v1/traces",
                    data=body([chat_span(2, datetime.now(UTC))]),
                    headers=PROTOBUF,
                ) as response,
            ):
                return response.headers["Retry-After"] if response.status == 503 else None

        assert int(await until(20, told_to_wait, "nothing is refused")) > 0
        assert any("nothing was lost" in line for line in await broken)


async def test_simulated_oom_pages_at_webhook_and_alertmanager_and_its_end_comes_although_the_pager_is_down(
    demo: Demo, on_call: Receiver
) -> None:
    lives = len(demo.engine.lives)
    async with clients(demo, seed=23):
        await asyncio.sleep(5.0)
        await plant(demo)
        began = time.time()
        await break_(demo, "oom", note=ERROR)

        async def paged() -> tuple[float, dict[str, Any]] | None:
            return alert_told(demo, "EngineOOM", "firing", began)

        async def in_alertmanager() -> list[dict[str, Any]]:
            return [alert for alert in on_call.alerts if alert["labels"]["alertname"] == "EngineOOM"]

        told, alert = await until(PAGED_SECONDS, paged, "nobody was paged")
        (same, *_) = await until(PAGED_SECONDS - (time.time() - began), in_alertmanager, "Alertmanager told nobody")
        for one in (alert, same):
            labels = one["labels"]
            assert ("page", MODEL, REPLICA) == (labels["severity"], labels["model"], labels["replica"])
            assert "out of memory" in one["annotations"]["summary"]
        print(f"paged {told - began:.1f} s after the batch failed; in Alertmanager {time.time() - began:.1f} s after it")
        print(json.dumps(alert["annotations"], indent=1))
        assert f"ENGINE {REPLICA} died" in shown(await view(demo, datetime.now(UTC)))

        async with asyncio.timeout(RESTARTED_SECONDS):
            await demo.engine.wait_for_life(lives + 1)
        refused = demo.pager.refused
        said = await break_(demo, "sink-down", seconds=20)
        assert demo.pager.refused > refused, said

        async def resolved() -> tuple[float, dict[str, Any]] | None:
            return alert_told(demo, "EngineOOM", "resolved", began)

        await until(RESOLVED_SECONDS, resolved, "the page was not resolved")
    assert ERROR in demo.engine.log.read_text()  # it was there to be seen


async def test_planted_texts_are_nowhere_afterwards(demo: Demo) -> None:
    await query(demo, "SELECT pg_switch_wal()")
    text = await metrics(demo)
    for word in (PROMPT, ERROR):
        assert [] == files_with(demo, word)
        assert word not in text
        assert word not in (demo.directory / "pages.jsonl").read_text()
