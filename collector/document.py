"""A document: YAML held against a strict model, with errors that name line, key, value and what was expected."""

from __future__ import annotations

import difflib
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from collector.errors import ConfigError

Document = TypeVar("Document", bound=BaseModel)


class Section(BaseModel):
    """A part of a document. What it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_document(text: str, source: str, model: type[Document]) -> Document:
    """Parse YAML into a strict model.

    :raises ConfigError: naming ``source``, line, key, value and what was expected
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{source}:1: expected keys and values, found {type(document).__name__}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, source, node, model))) from error


def _explain(error: ValidationError, source: str, node: yaml.Node | None, model: type[BaseModel]) -> list[str]:
    lines = []
    for problem in error.errors():
        path = tuple(part for part in problem["loc"] if part != "__root__")
        where = f"{source}:{line_of(node, path)}: {'.'.join(map(str, path))}"
        if problem["type"] == "extra_forbidden":
            known = sorted(_keys(model, path[:-1]))
            nearest = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.0)
            lines.append(f"{where}: unknown key; did you mean {nearest[0]!r}?" if nearest else f"{where}: unknown key")
        else:
            lines.append(f"{where}: {problem['msg']} (got {problem['input']!r})")
    return lines


def line_of(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """The line of a key, or of the nearest thing around it that the document holds."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> set[str]:
    """The keys that a section knows."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part)
        current = None if field is None else _section_of(field.annotation) or current
    return set(current.model_fields) if current is not None else set()


def _section_of(annotation: object) -> type[BaseModel] | None:
    """The section that a field's type holds, inside tuples, dicts and options."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        section = _section_of(argument)
        if section is not None:
            return section
    return None
