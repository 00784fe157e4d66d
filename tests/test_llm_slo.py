from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from collector.config import DATABASE_URL
from llm_slo import main


def run(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env={DATABASE_URL: None, "LLM_SLO_CONFIG": None} | (env or {}))


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_help_of_every_command_has_an_example_that_calls_it(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert 0 == result.exit_code
    assert f"llm-slo {' '.join(words)}" in result.output.partition("Example:")[2]


def test_unknown_key_stops_the_start_with_file_line_key_and_the_nearest_known_key(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text("environment: staging\ntargets:\n  - url: http://vllm:8000\n    scrape_second: 5\n")
    result = run("collector", "--config", str(path))
    assert 2 == result.exit_code
    assert f"{path}:4: targets.0.scrape_second: unknown key; did you mean 'scrape_seconds'?" in result.output


def test_wrong_value_is_quoted_with_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text("limits:\n  body_bytes: 12\n")
    result = run("up", "--config", str(path))
    assert 2 == result.exit_code
    assert f"{path}:2: limits.body_bytes: Input should be greater than or equal to 1024 (got 12)" in result.output


def test_missing_file_is_named(tmp_path: Path) -> None:
    result = run("up", "--config", str(tmp_path / "nowhere.yaml"))
    assert (2, True) == (result.exit_code, "nowhere.yaml: No such file or directory" in result.output)


@pytest.mark.parametrize("verb", ["collector", "alerter"])
def test_fleet_commands_refuse_to_start_without_a_database(verb: str) -> None:
    result = run(verb)
    assert 2 == result.exit_code
    assert "database_url" in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen:\n  otlp_http: 0.0.0.0:4318\ningest:\n  require_tokens: false\n", "listen.otlp_http='0.0.0.0:4318'"),
        ("listen:\n  web: 0.0.0.0:9464\n", "listen.web='0.0.0.0:9464'"),
    ],
)
def test_listener_beyond_loopback_that_asks_for_no_token_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text(text)
    result = run("up", "--config", str(path))
    assert 2 == result.exit_code
    assert f"{said} can be reached from other machines and" in result.output


def test_boards_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    result = run("boards", "build", "--out", str(tmp_path))
    assert 0 == result.exit_code
    written = [Path(line) for line in result.output.splitlines()]
    assert all(path.is_file() for path in written)
    assert tmp_path / "boards" / "llm-slo-on-call.json" in written


def test_check_says_which_target_fails_and_why(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text("targets:\n  - {url: 'http://127.0.0.1:1', replica: vllm-0}\n")
    result = run("check", "--targets", "--config", str(path))
    assert 1 == result.exit_code
    assert "vllm-0  http://127.0.0.1:1\n  failed    ClientConnectorError\n  health    unreachable\n" == result.output
    (line,) = run("check", "--targets", "--json", "--config", str(path)).output.splitlines()
    assert ("vllm-0", []) == (json.loads(line)["replica"], json.loads(line)["models"])


def test_a_secret_that_is_missing_stops_the_start_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "llm-slo.yaml"
    path.write_text("sinks: {pagerduty: [{name: pd, routing_key_env: PD_KEY}]}\n")
    result = run("up", "--config", str(path), env={"PD_KEY": ""})
    assert (2, "llm-slo: sinks.pagerduty (pd): routing_key_env: the environment variable PD_KEY is not set, or empty\n") == (
        result.exit_code,
        result.stderr,
    )
