from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp

from demo.engine import free_port
from demo.pager import DOWN, Pager

TOLD: dict[str, Any] = {"status": "firing", "alerts": []}


async def test_what_it_is_told_is_remembered_and_written_down(tmp_path: Path) -> None:
    pager, port = Pager(tmp_path / "pages.jsonl"), free_port()
    async with pager.serve(port), aiohttp.ClientSession(raise_for_status=True) as session:
        await session.post(f"http://127.0.0.1:{port}/", json=TOLD)
    assert TOLD.items() <= pager.notifications[0].items()
    assert pager.notifications == [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]


async def test_while_it_is_down_it_answers_503_and_remembers_nothing(tmp_path: Path) -> None:
    pager, port = Pager(tmp_path / "pages.jsonl"), free_port()
    url = f"http://127.0.0.1:{port}"
    answers = []
    async with pager.serve(port), aiohttp.ClientSession() as session:
        for seconds in (60, 0):
            async with session.post(f"{url}{DOWN}", params={"seconds": seconds}) as response:
                answers.append(await response.json())
            async with session.post(f"{url}/", json=TOLD) as response:
                answers.append(response.status)
    assert [{"refused": 0, "taken": 0}, 503, {"refused": 1, "taken": 0}, 200] == answers
    assert 1 == len(pager.notifications)
