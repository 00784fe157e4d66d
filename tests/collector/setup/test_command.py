from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from collector.config import load_config
from collector.setup import command
from collector.setup.command import init
from collector.setup.probe import look_around
from collector.setup.wiring import Program

NOBODY = ("--prometheus", "http://127.0.0.1:1", "--litellm", "http://127.0.0.1:1")


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever serves on this machine."""
    monkeypatch.setattr(command, "look_around", partial(look_around, ports=()))


def test_a_file_is_written_that_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    result = CliRunner().invoke(init, ["--output", str(path), "--json", *NOBODY])
    assert 0 == result.exit_code, result.output
    assert str(path) == json.loads(result.stdout)["config"]
    assert "production" == load_config(path).environment


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text("cluster: mine\n")
    result = CliRunner().invoke(init, ["--output", str(path), *NOBODY])
    assert (2, "cluster: mine\n") == (result.exit_code, path.read_text())
    assert "--force overwrites it" in result.stderr


def test_a_target_that_does_not_answer_is_said_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    result = CliRunner().invoke(init, ["--output", str(path), "--target", "http://127.0.0.1:1", *NOBODY])
    assert 1 == result.exit_code
    assert "nothing that is known answers at http://127.0.0.1:1" in result.stderr
    assert () == load_config(path).targets


def test_a_target_that_is_no_url_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(init, ["--output", str(tmp_path / "x"), "--target", "gpu-1:8000"])
    assert (2, "llm-slo: --target gpu-1:8000: expected http://HOST:PORT\n") == (result.exit_code, result.stderr)


@pytest.mark.parametrize("program", list(Program))
def test_wiring_has_the_addresses_of_the_configuration(tmp_path: Path, program: Program) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text("listen: {otlp_grpc: '127.0.0.1:1111', otlp_http: '127.0.0.1:2222', web: '127.0.0.1:3333'}\n")
    result = CliRunner().invoke(init, ["--output", str(path), "--print", program.value])
    assert 0 == result.exit_code
    assert any(port in result.stdout for port in ("1111", "2222", "3333"))
    assert not any(port in result.stdout for port in ("4317", "4318", "9464", "{"))


@pytest.mark.parametrize("program", [Program.OTEL_COLLECTOR, Program.PROMETHEUS])
def test_wiring_in_yaml_is_yaml(tmp_path: Path, program: Program) -> None:
    result = CliRunner().invoke(init, ["--output", str(tmp_path / "none"), "--print", program.value])
    assert yaml.safe_load(result.stdout)


def test_wiring_of_an_engine_names_the_first_target(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text("targets: [{url: 'http://gpu-1:8000', model: llama}]\n")
    result = CliRunner().invoke(init, ["--output", str(path), "--print", "vllm"])
    assert "llm_slo.replica=gpu-1:8000,llm_slo.model=llama\n" in result.stdout
    assert "LLM_SLO_REPLICA=gpu-1:8000\n" in result.stdout


def test_wiring_of_litellm_is_what_the_page_says_that_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "litellm.md").read_text()
    text = CliRunner().invoke(init, ["--output", str(tmp_path / "none"), "--print", "litellm"]).stdout
    variables = [line.removeprefix("export ").split()[0] for line in text.splitlines() if line.startswith("export ")]
    assert 4 == len(variables)
    assert [] == [one for one in variables if one.replace("127.0.0.1", "collector") not in page]
    assert [] == [one for one in ("callbacks: [otel]", "forward_traceparent_to_llm_provider: true") if one not in text]
