"""The JSON of a board as Grafana writes it today: without what grafanalib adds for older Grafanas and other data sources."""

from __future__ import annotations

from typing import Any

_DEAD = {
    # What grafanalib writes for Grafana before 8, or for other data sources, by the kind of object.
    "dashboard": ("__inputs", "gnetId", "hideControls", "id", "rows", "style", "timepicker", "version"),
    "panel": (
        "cacheTimeout", "color", "columns", "editable", "error", "fontSize", "height", "hideTimeOverride", "mappings",
        "minSpan", "span", "timeShift", "transformations",
    ),
    "row": ("fieldConfig", "links", "maxDataPoints", "targets", "transparent"),
    "target": (
        "expr", "instant", "interval", "intervalFactor", "legendFormat", "metric", "query", "step", "target",
    ),
    "variable": ("auto", "auto_count", "auto_min", "tagValuesQuery", "tags", "tagsQuery", "useTags"),
}  # fmt: skip


def tidy(document: dict[str, Any]) -> dict[str, Any]:
    """Without dead keys and nulls: ``color: null`` breaks Grafana's typed models, and a null hides a default."""
    _drop(document, "dashboard")
    for panel in document["panels"]:
        _drop(panel, "panel")
        if panel["type"] == "row":
            _drop(panel, "row")
            continue
        panel["fieldConfig"]["defaults"].get("custom", {}).pop("displayMode", None)
        for target in panel["targets"]:
            _drop(target, "target")
    for variable in document["templating"]["list"]:
        _drop(variable, "variable")
        _drop(variable["current"], "variable")
    cleaned: dict[str, Any] = _without_nulls(document)
    return cleaned


def _drop(object: dict[str, Any], kind: str) -> None:
    for key in _DEAD[kind]:
        object.pop(key, None)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        # The lowest threshold step is the one place where Grafana itself writes a null.
        keep = {"value"} if value.keys() == {"value", "color"} else set()
        return {key: _without_nulls(part) for key, part in value.items() if part is not None or key in keep}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value
