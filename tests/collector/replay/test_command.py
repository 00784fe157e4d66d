from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collector.config import DATABASE_URL
from llm_slo import main
from tests.collector.example import now
from tests.collector.otlp_body import body, chat_span

DATA = Path(__file__).parent.parent.parent / "data"
BLOG = str(DATA / "spans" / "blog-llm-complete.otlp.jsonl")
CAPTURES = sorted((DATA / "spans").glob("*.jsonl"))
PLANTED = b"secret-prompt-text"
PAGE = str(DATA / "vllm" / "metrics_idle.txt")
KEYS = [
    "trace_id",
    "span_id",
    "observed_by",
    "dialect",
    "tenant",
    "model",
    "requested_model",
    "provider",
    "replica",
    "request_id",
    "response_id",
    "api_key_hash",
    "operation",
    "traffic_class",
    "stream",
    "outcome",
    "http_status",
    "finish_reason",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "token_provenance",
    "ttft_seconds",
    "latency_seconds",
    "queue_seconds",
    "started_at",
    "ended_at",
    "fallback",
]


def run(*arguments: str, database: str | None = None) -> Result:
    return CliRunner().invoke(main, ["replay", *arguments], env={DATABASE_URL: database, "LLM_SLO_CONFIG": None})


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_file_is_one_object_with_its_ledger() -> None:
    result = run("--dry-run", "--json", BLOG, PAGE)
    assert 0 == result.exit_code
    spans, page = objects(result)
    assert ["file", "kind", "received", "rows", "merged", "ignored", "duplicate", "rejected", "outcomes", "tokens"] == list(
        spans
    )
    assert (BLOG, "traces", 7, {}) == (spans["file"], spans["kind"], spans["rows"], spans["rejected"])
    assert ["observed_by", "tenant", "model", "input", "cached", "output"] == list(spans["tokens"][0])
    assert (PAGE, "metrics") == (page["file"], page["kind"])


def test_each_request_is_one_object_with_every_key_in_order() -> None:
    result = run("--dry-run", "--rows", BLOG, PAGE)
    assert 0 == result.exit_code
    found = objects(result)
    assert 7 == len(found)
    assert [KEYS] * 7 == [list(row) for row in found]
    first = found[0]
    assert ("gateway", "team-a", "ok", False) == (first["observed_by"], first["tenant"], first["outcome"], first["fallback"])
    assert first["ended_at"].endswith("Z")


@pytest.mark.parametrize("style", [["--json"], ["--rows"]])
def test_what_is_wrong_is_said_on_standard_error_alone(tmp_path: Path, style: list[str]) -> None:
    broken, missing = tmp_path / "broken", tmp_path / "missing"
    broken.write_text(Path(BLOG).read_text() + "{oops}\n")
    result = run("--dry-run", *style, str(missing), str(broken), BLOG)
    assert 2 == result.exit_code
    assert (2 if style == ["--json"] else 14) == len(objects(result))
    assert f"llm-slo: {missing}: No such file or directory" in result.stderr
    assert f"llm-slo: {broken}: line 8: expected an ExportTraceServiceRequest" in result.stderr


def test_person_gets_a_table() -> None:
    result = run("--dry-run", BLOG, PAGE)
    assert 0 == result.exit_code
    assert f"{BLOG}: 28 spans received: 7 rows, " in result.stdout
    assert "team-a" in result.stdout


def test_no_file_is_wrong_usage() -> None:
    assert 2 == run("--dry-run", "--json").exit_code


def test_database_that_cannot_be_reached_is_said() -> None:
    result = run(BLOG, database="postgresql://nobody@127.0.0.1:1/nothing")
    assert 1 == result.exit_code
    assert "the database cannot be reached" in result.stderr


def test_rows_are_kept_in_the_configured_database_once(tmp_path: Path, database: str) -> None:
    path = tmp_path / "spans"
    path.write_bytes(body([chat_span(number, now()) for number in range(3)]))
    first, second = [objects(run("--json", str(path), database=database))[0] for _ in range(2)]
    assert [(3, 0), (0, 3)] == [(one["rows"], one["duplicate"]) for one in (first, second)]


def test_embedded_database_is_used_where_none_is_configured_and_no_prompt_is_on_its_disk(tmp_path: Path) -> None:
    path, config = tmp_path / "spans", tmp_path / "llm-slo.yaml"
    path.write_bytes(body([chat_span(number, now()) for number in range(3)]))
    # The server's own account may not enter where pytest keeps its files.
    with TemporaryDirectory(prefix="llm-slo-test-", ignore_cleanup_errors=True) as directory:
        config.write_text(f"data_dir: {directory}\n")
        assert 0 == run("--config", str(config), *map(str, CAPTURES)).exit_code
        assert any(PLANTED in file.read_bytes() for file in CAPTURES)
        written = [file for file in Path(directory).rglob("*") if file.is_file()]
        assert [] == [file for file in written if PLANTED in file.read_bytes()]
        first, second = [objects(run("--config", str(config), "--json", str(path)))[0] for _ in range(2)]
    assert [(3, 0), (0, 3)] == [(one["rows"], one["duplicate"]) for one in (first, second)]
