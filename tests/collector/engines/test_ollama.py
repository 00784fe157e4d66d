from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.engines.ollama import read_models
from collector.errors import MalformedExposition
from collector.metrics import GPU_MEMORY_USED
from collector.sample import Snapshot

ANSWER = (Path(__file__).parent.parent.parent / "data" / "engines" / "ollama_ps.json").read_text()


def snapshots(text: str, model: str | None = None) -> list[Snapshot]:
    plan, values = read_models(text)
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    return plan.snapshots(values, scraped_at=at, replica="ollama-0", model=model, scrape_seconds=0.01)


def test_each_loaded_model_is_a_row_with_its_gpu_memory() -> None:
    assert [("llama3.3:70b", {GPU_MEMORY_USED: 21474836480.0}), ("qwen3:8b", {GPU_MEMORY_USED: 6442450944.0})] == [
        (snapshot.model, snapshot.values) for snapshot in snapshots(ANSWER)
    ]


@pytest.mark.parametrize("answer", ['{"models":[]}', '{"models":null}'])
def test_no_loaded_model_is_no_fault(answer: str) -> None:
    assert [("configured", {})] == [(snapshot.model, snapshot.values) for snapshot in snapshots(answer, "configured")]


@pytest.mark.parametrize(
    "answer", ["", "<html>", "[]", "{}", '{"models":[{"name":"a"}]}', '{"models":[1]}', '{"models":1}', "[" * 100_000]
)
def test_answer_that_is_no_list_of_models_is_refused(answer: str) -> None:
    with pytest.raises(MalformedExposition, match="not the list of models"):
        read_models(answer)


def test_name_that_no_database_takes_is_mended() -> None:
    answer = '{"models":[{"name":"a\\u0000b\\ud800","size_vram":1}]}'
    assert ["ab?"] == [snapshot.model for snapshot in snapshots(answer)]
