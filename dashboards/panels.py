"""Panels and boards as Grafana's JSON: the only importer of grafanalib.

Every panel takes a unit and a description, which says what to do when it looks bad; ``dashboards.style`` holds the colours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from collector.request import ObservedBy
from dashboards.document import tidy
from dashboards.query import ALL_VALUE, OBSERVER, OBSERVERS, VARIABLES, Format, Query, Variable, choices
from dashboards.style import Cell, Colour, Draw, Step, Unit

DATASOURCE_TYPE = "grafana-postgresql-datasource"
DATASOURCE_UID = "llm-slo-postgres"
_DATASOURCE = {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}

COLUMNS = 24
"""Width of Grafana's grid."""
_SMALLEST_INTERVAL = "1m"
"""Rollups are by minute: a shorter interval would show gaps that are none."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart and its size on the grid."""

    chart: Any
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under a heading; no heading for an empty title."""

    title: str
    panels: Sequence[Panel]


class Annotation(NamedTuple):
    """Marks on every chart of a board."""

    name: str
    query: Query
    colour: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard. ``uid`` never changes: links, and Grafana's own state, go by it."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    annotations: Sequence[Annotation]
    variables: Sequence[Variable] = field(default=VARIABLES)
    observed_by: ObservedBy = ObservedBy.GATEWAY


def timeseries(
    title: str,
    description: str,
    query: Query,
    unit: Unit,
    *,
    width: int = 8,
    height: int = 8,
    draw: Draw = Draw.LINES,
    colours: Mapping[str, str] | None = None,
    steps: Sequence[Step] = (),
    smallest: int | None = 0,
    largest: int | None = None,
) -> Panel:
    """A chart over time. ``steps`` are drawn as lines; ``colours`` go by the series' name.

    ``smallest`` and ``largest`` fix the axis; ``None`` leaves its end to the values.
    """
    bars = draw is Draw.BARS
    chart = core.TimeSeries(
        **_frame(title, description, query),
        unit=unit.value,
        drawStyle=draw.value,
        fillOpacity=80 if bars else 0,
        lineWidth=0 if bars else 2,
        stacking={"mode": "normal" if bars else "none", "group": "A"},
        showPoints="never" if bars else "auto",
        legendDisplayMode="list",
        legendPlacement="bottom",
        tooltipMode="multi",
        tooltipSort="desc",
        valueMin=smallest,
        valueMax=largest,
        thresholds=_steps(steps or (Step(None, Colour.QUIET),)),
        thresholdsStyleMode="dashed" if len(steps) > 1 else "off",
        overrides=[_fixed_colour(name, colour) for name, colour in (colours or {}).items()],
        extraJson={"options": {"legend": {"showLegend": True}}},
    )
    return Panel(chart, width, height)


def stat(
    title: str, description: str, query: Query, unit: Unit, steps: Sequence[Step], *, width: int = 4, decimals: int = 0
) -> Panel:
    """One number; its background takes the colour of the step that it reached."""
    chart = core.Stat(
        **_frame(title, description, query),
        format=unit.value,
        decimals=decimals,
        colorMode="background",
        graphMode="none",
        reduceCalc="lastNotNull",
        textMode="value",
        noValue="no data",
        thresholds=_steps(steps),
        color={"mode": "thresholds"},
        extraJson={"options": {"wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard"}},
    )
    return Panel(chart, width, 4)


def table(title: str, description: str, query: Query, cells: Mapping[str, Cell], *, width: int = 12, height: int = 8) -> Panel:
    """Rows as the query orders them. ``cells`` go by the query's column names."""
    chart = core.Table(
        **_frame(title, description, query),
        unit=Unit.TEXT.value,
        overrides=[_cell(name, cell) for name, cell in cells.items()],
        thresholds=_steps((Step(None, Colour.QUIET),)),
        extraJson={
            "fieldConfig": {"defaults": {"noValue": "none", "custom": {"cellOptions": {"type": "auto"}, "inspect": False}}},
            "options": {"cellHeight": "sm"},
        },
    )
    return Panel(chart, width, height)


def to_json(board: Board) -> str:
    """The board as Grafana's file provisioning takes it: sorted keys, two spaces, a line feed at the end."""
    dashboard = core.Dashboard(
        title=board.title,
        uid=board.uid,
        description=board.description,
        tags=["llm-slo"],
        editable=False,
        refresh="30s",
        time=core.Time("now-1h", "now"),
        timezone="browser",
        # Both say the same, before and after Grafana's migration of this schema version.
        sharedCrosshair=True,
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        panels=_placed(board.sections),
        templating=core.Templating([*map(_variable, board.variables), _observer(board.observed_by)]),
        annotations=core.Annotations([_annotation(annotation) for annotation in board.annotations]),
    )
    document = json.loads(json.dumps(dashboard.to_json_data(), cls=DashboardEncoder))
    return json.dumps(tidy(document), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _frame(title: str, description: str, query: Query) -> dict[str, Any]:
    target = core.SqlTarget(rawSql=query.sql, format=query.format.value, refId="A", datasource=_DATASOURCE)
    return {
        "title": title,
        "description": description,
        "dataSource": _DATASOURCE,
        "targets": [target],
        "interval": _SMALLEST_INTERVAL,
        # About one bar for every 4 pixels of the widest chart.
        "maxDataPoints": 240,
    }


def _steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    # grafanalib's own class writes the text "null" for the lowest step.
    return [{"value": step.value, "color": step.colour.value} for step in steps]


def _override(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": id, "value": value} for id, value in properties.items()],
    }


def _fixed_colour(name: str, colour: str) -> dict[str, Any]:
    return _override(name, {"color": {"mode": "fixed", "fixedColor": colour}})


def _cell(name: str, cell: Cell) -> dict[str, Any]:
    properties: dict[str, Any] = {"unit": cell.unit.value}
    if cell.width is not None:
        properties["custom.width"] = cell.width
    if cell.steps:
        properties["thresholds"] = {"mode": "absolute", "steps": _steps(cell.steps)}
        properties["color"] = {"mode": "thresholds"}
    if cell.texts:
        options = {text: {"color": colour.value, "index": index} for index, (text, colour) in enumerate(cell.texts.items())}
        properties["mappings"] = [{"type": "value", "options": options}]
    if cell.steps or cell.texts:
        properties["custom.cellOptions"] = {"type": "color-text"}
    return _override(name, properties)


def _variable(variable: Variable) -> core.Template:
    template = core.Template(
        name=variable.name,
        label=variable.label,
        query=choices(variable),
        dataSource=_DATASOURCE,
        includeAll=True,
        multi=True,
        allValue=ALL_VALUE,
        refresh=core.REFRESH_ON_TIME_RANGE_CHANGE,
        sort=core.SORT_ALPHA_IGNORE_CASE_ASC,
    )
    template._current = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return template


def _observer(chosen: ObservedBy) -> core.Template:
    options = [
        {"selected": observer is chosen, "text": text, "value": str(int(observer))} for observer, text in OBSERVERS.items()
    ]
    query = ", ".join(f"{text} : {int(observer)}" for observer, text in OBSERVERS.items())
    return core.Template(name=OBSERVER, label="As seen by", query=query, type="custom", options=options)


def _annotation(annotation: Annotation) -> dict[str, Any]:
    return {
        "name": annotation.name,
        "datasource": _DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": annotation.colour.value,
        "target": {"refId": "Anno", "format": Format.TABLE.value, "rawQuery": True, "rawSql": annotation.query.sql},
    }


def _placed(sections: Sequence[Section]) -> list[Any]:
    """The charts of all sections from top to bottom, left to right, with ids in that order."""
    charts: list[Any] = []
    x, y, line = 0, 0, 0

    def place(chart: Any, width: int, height: int) -> None:
        nonlocal x, y, line
        if x + width > COLUMNS:
            x, y, line = 0, y + line, 0
        chart.gridPos, chart.id = core.GridPos(h=height, w=width, x=x, y=y), len(charts) + 1
        charts.append(chart)
        x, line = x + width, max(line, height)

    for section in sections:
        x, y, line = 0, y + line, 0
        if section.title:
            place(core.RowPanel(title=section.title), COLUMNS, 1)
        for panel in section.panels:
            place(panel.chart, panel.width, panel.height)
    return charts
