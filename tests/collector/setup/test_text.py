from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.check import Checked
from collector.config import parse_config
from collector.setup.probe import Surroundings
from collector.setup.text import config_text

VLLM = Checked("gpu-1:8000", "http://gpu-1:8000", None, engine="vllm", version="0.32.0", models=("llama", "alias"))


def test_what_was_found_is_filled_in_and_accepted_as_it_is() -> None:
    text = config_text(Surroundings((VLLM,), kubernetes=True), environment="staging")
    config = parse_config(text, "llm-slo.yaml")
    assert ("staging", ["http://gpu-1:8000"]) == (config.environment, [target.url for target in config.targets])
    assert "# vllm 0.32.0, serves llama, alias" in text
    assert "discovery: {kubernetes:" in text
    assert len(text.splitlines()) <= 15


def test_without_an_engine_it_says_how_one_is_written() -> None:
    text = config_text(Surroundings(()))
    assert () == parse_config(text, "llm-slo.yaml").targets
    assert 'an entry is: {url: "http://HOST:8000"' in text


@given(st.lists(st.text(min_size=1, max_size=30), max_size=3))
def test_no_models_name_can_break_the_file(models: list[str]) -> None:
    text = config_text(Surroundings((VLLM._replace(models=tuple(models)),)))
    assert 1 == len(parse_config(text, "llm-slo.yaml").targets)
