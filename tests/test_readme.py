"""The README says what the code does: every key, every verb, every file that it names."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from collector.config import Config, parse_config
from tests.test_llm_slo import commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
_START = "|---|---|---|\n"
_MARK = "<!-- configuration"


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a section, with the sections below it."""
    for name, field in model.model_fields.items():
        section, suffix = section_of(field.annotation)
        if section is None:
            yield prefix + name, field
        else:
            yield from keys(section, f"{prefix}{name}{suffix}.")


def section_of(annotation: object) -> tuple[type[BaseModel] | None, str]:
    """The section that a key holds, and how its entries are written: one, a list of them, or by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    suffix = "[]" if origin is tuple else ".NAME" if origin is dict else ""
    if origin in (tuple, dict, types.UnionType):
        for argument in arguments:
            section, _ = section_of(argument)
            if section is not None:
                return section, suffix
    return None, ""


def default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "by user"
    if field.default is None:
        return "–"
    if isinstance(field.default, tuple):
        return ", ".join(f"`{part}`" for part in field.default) or "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def table() -> list[str]:
    """The table of the README, from the model."""
    return [f"| `{key}` | {default(field)} | {field.description} |" for key, field in keys(Config)]


def test_every_configuration_key_is_documented_as_the_code_has_it() -> None:
    section = README.partition(_MARK)[2].partition(_START)[2].partition("\n\n")[0]
    assert table() == section.splitlines()


def test_example_configuration_is_accepted() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert examples
    for example in examples:
        parse_config(example, "README.md")


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_every_verb_is_documented(words: tuple[str, ...]) -> None:
    assert f"llm-slo {' '.join(words)}" in README


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_that_a_document_names_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.[a-z]+)?)`", text)) | set(re.findall(r"\]\(([^)#:]+)\)", text))
    # What a command makes is no part of the checkout.
    assert [] == sorted(path for path in named if not path.startswith("boards/") and not (ROOT / path).exists())


@pytest.mark.parametrize("target", re.findall(r"^    make ([a-z0-9]+)", README, re.MULTILINE))
def test_every_make_target_of_the_readme_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
