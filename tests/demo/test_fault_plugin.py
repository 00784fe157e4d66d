"""The plugin, with stand-ins for the two packages that it finds in vLLM's environment."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from demo.fault_plugin import llm_slo_fault
from demo.fault_plugin.llm_slo_fault import TEXT, TRIGGER, register


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker whose batches come to twice what is in them."""

    class Worker:
        def execute_model(self, batch: int) -> int:
            return 2 * batch

    torch, gpu_worker = ModuleType("torch"), ModuleType("vllm.v1.worker.gpu_worker")
    torch.OutOfMemoryError = OutOfMemoryError  # type: ignore[attr-defined]
    gpu_worker.Worker = Worker  # type: ignore[attr-defined]
    for name in ("vllm", "vllm.v1", "vllm.v1.worker"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, gpu_worker.__name__, gpu_worker)
    return Worker


def test_one_batch_fails_for_each_order_and_none_without(worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRIGGER, str(tmp_path / "oom"))
    register()
    register()
    assert 6 == worker().execute_model(3)
    (tmp_path / "oom").write_text("")
    with pytest.raises(OutOfMemoryError) as failed:
        worker().execute_model(3)
    assert TEXT == str(failed.value)
    assert 6 == worker().execute_model(batch=3)


def test_it_does_nothing_where_no_file_is_named(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRIGGER, raising=False)
    before = worker.execute_model
    register()
    assert before is worker.execute_model


def test_it_imports_nothing_of_llm_slo() -> None:
    loaded = set(sys.modules)
    specification = importlib.util.spec_from_file_location("alone", llm_slo_fault.__file__)
    assert specification is not None
    assert specification.loader is not None
    specification.loader.exec_module(importlib.util.module_from_spec(specification))
    assert set() == {name for name in set(sys.modules) - loaded if name.partition(".")[0] in ("demo", "collector", "alerts")}
