from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.check import Checked, check
from collector.check_command import _lines, _object
from collector.metrics import FAMILIES, EngineName
from collector.sample import Health
from collector.target import Target

DATA = Path(__file__).parent.parent / "data"
PAGES = DATA / "engines"
ANSWERS = {
    "vllm": {
        "/metrics": (DATA / "vllm" / "metrics_load.txt").read_text() + "vllm:brand_new_total 1\n",
        "/version": '{"version":"0.32.0"}',
    },
    "sglang": {"/metrics": (PAGES / "sglang_0.5.23_decode.txt").read_text(), "/server_info": '{"version":"0.5.23"}'},
    "llama_cpp": {
        "/metrics": (PAGES / "llama_cpp_2026.txt").read_text(),
        "/props": '{"build_info":"b6000-abc"}',
        "/v1/models": '{"data":[{"id":"qwen3"}]}',
    },
    "ollama": {"/api/ps": (PAGES / "ollama_ps.json").read_text(), "/api/version": '{"version":"0.12.0"}'},
    "dcgm": {"/metrics": (PAGES / "dcgm.txt").read_text()},
    "kube_state": {"/metrics": (PAGES / "kube_state.txt").read_text()},
    "other": {"/metrics": "node_load1 2"},
}


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[str]:
    answers = {"/health": "", **ANSWERS[name]}

    async def answer(request: web.Request) -> web.Response:
        text = answers.get(request.path)
        return web.Response(status=404) if text is None else web.Response(text=text)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    async with TestServer(app) as server:
        yield str(server.make_url(""))


async def look(name: str, engine: EngineName | None = None) -> Checked:
    async with serving(name) as url:
        (checked,) = await check([Target(url=url, replica="a", engine=engine)])
    return checked


@pytest.mark.parametrize(
    ("name", "version", "models"),
    [
        ("vllm", "0.32.0", ("tiny",)),
        ("sglang", "0.5.23", ("m",)),
        ("llama_cpp", "b6000-abc", ("qwen3",)),
        ("ollama", "0.12.0", ("llama3.3:70b", "qwen3:8b")),
    ],
)
async def test_engine_is_recognised_with_its_version_and_its_models(name: str, version: str, models: tuple[str, ...]) -> None:
    checked = await look(name)
    assert (None, name, version, models, Health.READY) == (
        checked.failure,
        checked.engine,
        checked.version,
        checked.models,
        checked.health,
    )
    assert [family.name for family in FAMILIES] == [
        family.name for family in FAMILIES if family.name in {*checked.known, *checked.empty}
    ]
    assert not set(checked.known) & set(checked.empty)


async def test_names_that_nobody_knows_are_listed_and_so_is_what_stays_empty() -> None:
    checked = await look("vllm")
    assert ("brand_new",) == checked.unknown
    assert {"requests_swapped", "gpu_memory_used_bytes"} <= set(checked.empty)
    assert {"requests_running", "ttft_seconds"} <= set(checked.known)


async def test_role_of_an_engine_that_does_one_thing_is_said() -> None:
    assert ("decode",) == (await look("sglang")).roles


async def test_exporter_is_no_engine_and_is_described_by_what_it_tells_of() -> None:
    assert ("0", "1", "2") == (await look("dcgm", EngineName.DCGM)).engines
    checked = await look("kube_state", EngineName.KUBE_STATE)
    assert ("llm/other-0/app", "llm/vllm-0/engine", "llm/vllm-7f9c-abcde/engine") == checked.engines
    assert (None, "kube_state") == (checked.failure, checked.engine)


@pytest.mark.parametrize(
    ("name", "engine", "failure"),
    [
        ("other", None, "no engine's metric on the page: another server, or metrics are off"),
        ("other", EngineName.DCGM, "no GPU on the page: another server, or an exporter without its default counters"),
        (
            "other",
            EngineName.KUBE_STATE,
            "no container of Kubernetes on the page: another server, or one that may not list pods",
        ),
        ("dcgm", None, "a page of an exporter, which is no engine: its target needs engine: dcgm"),
    ],
)
async def test_target_that_is_something_else_fails_and_says_why(name: str, engine: EngineName | None, failure: str) -> None:
    checked = await look(name, engine)
    assert failure == checked.failure
    assert f"  failed    {failure}" in _lines(checked)


async def test_targets_are_independent() -> None:
    async with serving("vllm") as url:
        there, gone = await check([Target(url=url, replica="a"), Target(url="http://127.0.0.1:1", replica="b")])
    assert (None, "vllm") == (there.failure, there.engine)
    assert ("b", "ClientConnectorError", Health.UNREACHABLE) == (gone.replica, gone.failure, gone.health)


async def test_what_was_found_is_written_for_people_and_for_programs() -> None:
    checked = await look("sglang")
    written = json.loads(_object(checked))
    assert ("sglang", "ready", ["m"], ["decode"]) == (
        written["engine"],
        written["health"],
        written["models"],
        written["roles"],
    )
    lines = _lines(checked)
    assert "  engine    sglang 0.5.23" in lines
    assert "  health    ready (200)" in lines
    assert any(line.startswith("  empty     requests_waiting_capacity, ") for line in lines)
