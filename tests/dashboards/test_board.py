"""The JSON of boards: golden files, Grafana's typed models, and what every panel must have."""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from collector.request import ObservedBy, Outcome
from dashboards.board import PROVISIONING, build, check
from dashboards.panels import DATASOURCE_UID
from dashboards.style import OUTCOME_COLOURS
from dashboards.traffic import outcome_label

GOLDEN = Path(__file__).parents[1] / "data" / "boards"
DEPLOYED = Path(__file__).parents[2] / "deploy" / "grafana"

EXPLAINED = {
    # The typed model has no SQL queries, and knows targets of annotations for Grafana's own annotations only.
    "annotations.list.target.format",
    "annotations.list.target.rawQuery",
    "annotations.list.target.rawSql",
    "annotations.list.target.refId",
    # Read by Grafana's migration of grafanalib's old schema version, which makes graphTooltip of it.
    "sharedCrosshair",
}
"""What the typed model drops, and why it is there all the same."""


def test_boards_and_provisioning_equal_the_golden_files() -> None:
    """After a change that is meant: `llm-slo boards build --out tests/data/boards`, and look at the difference."""
    assert [] == check(GOLDEN)


def test_deployed_provisioning_is_what_is_built() -> None:
    for path, text in PROVISIONING.items():
        assert text == (DEPLOYED / path).read_text()


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert [path.relative_to(tmp_path / "a") for path in first] == [path.relative_to(tmp_path / "b") for path in second]


def test_check_names_what_differs_is_missing_or_belongs_to_no_board(tmp_path: Path) -> None:
    first, *rest = build(tmp_path)
    first.write_text(first.read_text().replace('"title": "Alerts"', '"title": "Alarms"'))
    rest[0].unlink()
    (tmp_path / "boards" / "old.json").write_text("{}")
    changed, missing, stray = check(tmp_path)
    assert '-      "title": "Alarms"' in changed
    assert '+      "title": "Alerts"' in changed
    assert f"{rest[0].relative_to(tmp_path)}: missing" == missing
    assert "boards/old.json: belongs to no board" == stray


def test_the_typed_model_keeps_everything_but_what_is_explained(board: dict[str, Any]) -> None:
    assert EXPLAINED == set(_lost(board, json.loads(JSONEncoder().encode(_typed(board)))))


def test_every_option_has_the_type_that_grafana_declares(board: dict[str, Any]) -> None:
    assert [] == list(_mistyped(_typed(board), "board"))


def test_a_wrong_option_is_found(board: dict[str, Any]) -> None:
    board["panels"][0]["options"]["colorMode"] = "rainbow"
    board["panels"][0]["gridPos"]["w"] = "wide"
    found = list(_mistyped(_typed(board), "board"))
    assert ["board.panels[0].grid_pos.w: 'wide'", "board.panels[0].options.color_mode: 'rainbow'"] == sorted(found)


def test_every_panel_has_a_description_and_a_unit(board: dict[str, Any]) -> None:
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert len(panel["description"]) > 40, panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"]["uid"] == DATASOURCE_UID


def test_panels_lie_on_the_grid_without_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len(board["panels"]) == len({panel["id"] for panel in board["panels"]})


def test_every_outcome_has_a_colour_of_its_own(board: dict[str, Any]) -> None:
    assert set(Outcome) == set(OUTCOME_COLOURS)
    assert len(Outcome) == len(set(OUTCOME_COLOURS.values()))
    [panel] = [part for part in board["panels"] if part["title"] == "Requests by outcome"]
    colours = {
        override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
    }
    assert {outcome_label(outcome): colour for outcome, colour in OUTCOME_COLOURS.items()} == colours


def test_thresholds_come_from_the_slos(board: dict[str, Any]) -> None:
    steps = {
        (panel["title"], panel["type"]): panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1].get("value")
        for panel in board["panels"]
        if panel["type"] != "row"
    }
    assert 0.995 == steps["Availability", "timeseries"] == steps["Availability", "stat"]
    assert 2.0 == steps["TTFT p95", "stat"] == steps["TTFT by model", "timeseries"]


def test_the_primary_observer_is_chosen_at_first(tmp_path: Path) -> None:
    built = json.loads(build(tmp_path, observed_by=ObservedBy.CLIENT)[0].read_text())
    [variable] = [part for part in built["templating"]["list"] if part["name"] == "observed_by"]
    assert {"selected": True, "text": "client", "value": "2"} == variable["current"]


def test_no_null_is_left_but_below_the_lowest_threshold(board: dict[str, Any]) -> None:
    assert {"value"} == set(_nulls(board))


def test_provisioning_is_yaml_that_names_the_datasource_of_the_boards() -> None:
    datasources, provider = (yaml.safe_load(text) for text in PROVISIONING.values())
    assert [DATASOURCE_UID] == [source["uid"] for source in datasources["datasources"]]
    assert ["file"] == [source["type"] for source in provider["providers"]]


@pytest.fixture(autouse=True, scope="module")
def _plugins() -> None:
    plugins.register_default_plugins()


def _typed(board: dict[str, Any]) -> Dashboard:
    return Dashboard.from_json(json.loads(json.dumps(board)))


def _lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths of what is not the same after a way through the typed model."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, part in before.items():
            below = f"{path}.{key}" if path else key
            yield from _lost(part, after[key], below) if key in after else [below]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for part, other in zip(before, after, strict=True):
            yield from _lost(part, other, path)
    elif before != after:
        yield path


def _mistyped(model: Any, path: str) -> Iterator[str]:
    """Attributes of a typed model whose value does not fit their annotation: the model itself does not look."""
    for name, hint in typing.get_type_hints(type(model)).items():
        value = getattr(model, name, None)
        if not _fits(value, hint):
            yield f"{path}.{name}: {value!r}"
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            if type(part).__module__.startswith("grafana_foundation_sdk.models"):
                yield from _mistyped(part, f"{path}.{name}[{index}]" if isinstance(value, list) else f"{path}.{name}")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object) or (hint is float and type(value) is int):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(part, arguments[0]) for part in value)
    if origin is dict:
        return isinstance(value, dict)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [member.value for member in hint]
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _nulls(value: Any, name: str = "") -> Iterator[str]:
    if value is None:
        yield name
    for key, part in value.items() if isinstance(value, dict) else ():
        yield from _nulls(part, key)
    for part in value if isinstance(value, list) else ():
        yield from _nulls(part, name)
