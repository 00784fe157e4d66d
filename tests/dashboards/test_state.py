"""Alerts, budgets, replicas and events of the board against what was written."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.dashboards.conftest import Shown
from tests.dashboards.fleet import OUTAGE, RESET_AT
from tests.dashboards.incident import BAD, FIRED_AT, GOOD, RESOLVED_AT


def test_alerts_that_are_open_come_with_pages_first(shown: Shown) -> None:
    rows = shown.rows(shown.source("Alerts"), shown.view())
    expected = [("page", "resolving", "engine dead"), ("ticket", "firing", "no data"), ("ticket", "pending", "ttft")]
    assert expected == [(row["Severity"], row["State"], row["Alert"]) for row in rows]
    assert "engine dead of large" == rows[0]["Verdict"]
    assert "severity" not in rows[0]["Labels"]
    assert "large-0" in rows[0]["Labels"]


def test_alerts_that_name_nobody_concern_everybody(shown: Shown) -> None:
    rows = shown.rows(shown.source("Alerts"), shown.view(tenant=["o'brien & söhne"], model=["tiny"]))
    assert ["no data"] == [row["Alert"] for row in rows]
    [count] = shown.rows(shown.source("Firing alerts"), shown.view(model=["tiny"]))
    assert {"firing": 1} == count


def test_pending_alerts_are_not_counted_as_firing(shown: Shown) -> None:
    assert [{"firing": 2}] == shown.rows(shown.source("Firing alerts"), shown.view())


def test_annotations_reach_from_firing_to_resolved(shown: Shown) -> None:
    view = shown.view()
    rows = shown.rows(shown.source("annotation Alerts"), view)
    expected = {
        # It fires since before the range, and still does.
        "no data: fires since before this range": (view.start, view.end),
        # Told once, although its severity rose in between; over when it was resolved, not when it looked better.
        "availability: 20 % of requests fail": (shown.base + FIRED_AT, shown.base + RESOLVED_AT),
        "engine dead: 20 % of requests fail": (shown.base + FIRED_AT, view.end),
    }
    assert expected == {row["text"]: (row["time"], row["timeend"]) for row in rows}
    assert len(expected) == len(rows)
    assert {"no data,ticket", "availability,page", "engine dead,page"} == {row["tags"] for row in rows}


def test_deaths_and_restarts_in_the_range_are_marked(shown: Shown) -> None:
    rows = shown.rows(shown.source("annotation Engines died or came back"), shown.view())
    expected = [
        (OUTAGE.start, "large-0: engine down"),
        (OUTAGE.start, "large-0: death"),
        (OUTAGE.stop, "large-0: engine ready"),
        (RESET_AT, "tiny-0: restart"),
    ]
    assert expected == [((row["time"] - shown.base) // timedelta(minutes=1), row["text"]) for row in rows]


def test_events_come_newest_first_with_their_cause(shown: Shown) -> None:
    rows = shown.rows(shown.source("Events"), shown.view())
    assert ["restart", "engine ready", "death", "engine down"] == [row["Event"] for row in rows]
    assert '{"cause": "out of memory"}' == rows[2]["Detail"]
    assert [("tiny-0", "tiny")] == [
        (row["Replica"], row["Model"]) for row in shown.rows(shown.source("Events"), shown.view(replica=["tiny-0"]))
    ]


def test_replicas_in_trouble_come_first(shown: Shown) -> None:
    rows = shown.rows(shown.source("Replicas"), shown.view())
    assert [("large-0", "failing"), ("tiny-0", "ready"), ("tiny-1", "ready")] == [(r["Replica"], r["Health"]) for r in rows]
    assert "zombie: health fails while /metrics looks idle" == rows[0]["Trouble"]
    assert [{"not ready": 1}] == shown.rows(shown.source("Replicas not ready"), shown.view())
    assert [{"not ready": 0}] == shown.rows(shown.source("Replicas not ready"), shown.view(model=["tiny"]))


def test_budgets_count_the_period_of_their_slo_and_no_more(shown: Shown) -> None:
    rows = {row["SLO"]: row for row in shown.rows(shown.source("Error budgets"), shown.view())}
    assert {slo.name for slo in shown.slos} == set(rows)
    for slo in shown.slos:
        row, failing = rows[slo.name], BAD / (GOOD + BAD)
        assert 10 * BAD == row["Failed"]
        assert pytest.approx(1 - failing) == float(row["Good"])
        assert pytest.approx(1 - failing / float(slo.budget)) == float(row["Budget left"])
    [worst] = shown.rows(shown.source("Budget left, worst"), shown.view())
    assert min(row["Budget left"] for row in rows.values()) == worst["budget left"]
