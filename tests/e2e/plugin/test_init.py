"""``llm-slo init`` beside a vLLM that runs, and what it prints, against the programs that it is for."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from psycopg import AsyncConnection

from demo.stage import MODEL, PREFERRED
from tests.collector.otlp_body import body, chat_span
from tests.e2e.plugin.stage import Stage, exported, flags, run
from tests.process import PROTOBUF, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_init_writes_a_configuration_on_which_up_scrapes_the_engine_and_takes_spans(stage: Stage) -> None:
    url = f"http://127.0.0.1:{PREFERRED['engine']}"
    assert [{"url": url, "engine": "vllm", "models": [MODEL]}] == [
        {name: one[name] for name in ("url", "engine", "models")} for one in stage.said["engines"]
    ]
    assert len(stage.config_path.read_text().splitlines()) <= 16
    async with aiohttp.ClientSession() as session:
        data = body([chat_span(7, datetime.now(UTC))])
        async with session.post(f"{stage.otlp}/v1/traces", data=data, headers=PROTOBUF) as response:
            assert 200 == response.status
    async with await AsyncConnection.connect(stage.conninfo, autocommit=True) as look:

        async def seen() -> bool:
            cursor = await look.execute(
                "SELECT replicas.name, models.name FROM replica_states JOIN replicas ON replicas.id = replica_id "
                "JOIN models ON models.id = model_id WHERE scraped_at IS NOT NULL"
            )
            return [(url.removeprefix("http://"), MODEL)] == await cursor.fetchall()

        async def landed() -> bool:
            cursor = await look.execute("SELECT count(*) FROM requests WHERE span_id = %s", ((8).to_bytes(8, "big"),))
            return [(1,)] == await cursor.fetchall()

        await until(landed)
        await until(seen)


async def test_the_wiring_of_vllm_is_what_this_vllm_runs_with(stage: Stage) -> None:
    pid = stage.engine.pid
    assert pid is not None
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    assert 3 == len(flags(stage.wiring))
    assert [] == [flag for flag in flags(stage.wiring) if flag not in command]
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    wired = [f"{name}={value}" for name, value in exported(stage.wiring).items()]
    assert 6 == len(wired)
    assert [] == [one for one in wired if one not in environment]
    told = await run(sys.executable, "-m", "llm_slo", "init", "--output", str(stage.config_path), "--print", "vllm")
    assert f"llm_slo.replica={stage.replica}," in told


async def test_promtool_takes_the_wiring_of_prometheus(tmp_path: Path) -> None:
    assert shutil.which("promtool"), "tests need promtool: apt-get install prometheus"
    path = tmp_path / "prometheus.yml"
    path.write_text(
        await run(sys.executable, "-m", "llm_slo", "init", "--output", str(tmp_path / "none"), "--print", "prometheus")
    )
    assert "SUCCESS" in await run("promtool", "check", "config", str(path))
