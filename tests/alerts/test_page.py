from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from alerts.finding import Text
from alerts.page import LastEvent, Links, board_link, compose, runbook_link, shorten
from alerts.story import Exhaustion, Hurt, Pressure, Share, Story
from collector.request import Outcome
from collector.sink import Alerts

NOW = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)
TEXT = Text("llama on vllm-0: engine dead since 03:11:56 UTC, 0/1 ready", ("It is dead since 03:12:07 UTC.",), NOW)
NO_LINKS = Links(None, None, "")
STORY = Story(
    NOW - timedelta(minutes=5),
    NOW,
    requests=400,
    failed=37,
    outcomes={Outcome.TIMEOUT: 7, Outcome.SERVER_ERROR: 30},
    tenants=[Hurt("acme", 7, 27), Hurt("beta", 9, 10)],
    tenants_hurt=2,
    shares=[Share("replica", "vllm-3", 50, 36), Share("tenant", "acme", 280, 27)],
    traces=["0a" * 16, "0b" * 16],
)


def test_a_page_holds_verdict_harm_cause_and_links() -> None:
    story = STORY._replace(pressures=[Pressure("vllm-3", 0.99, 12.0, 8.0)])
    event = LastEvent(NOW, "engine_down", "vllm-0", {"status": "503", "error": "EngineDeadError"})
    links = Links("https://grafana/d/x", "https://runbooks/x", "Restart it.", "https://traces/{trace_id}")
    exhausted = Exhaustion(timedelta(hours=3), timedelta(minutes=150), timedelta(hours=4, minutes=10))

    annotations = compose(TEXT, story, event, links, exhausted)

    assert TEXT.summary == annotations["summary"]
    assert [
        "It is dead since 03:12:07 UTC.",
        "As in the last minutes, the rest of it lasts 3 h (95 %: 2 h 30 min to 4 h 10 min, for independent failures).",
        "Requests hurt in the last 5 min: 37 (server error 30, timeout 7).",
        "Tenants hurt: acme 27, beta 10.",
        "Stands out: replica vllm-3 has 36 of 37 failures (97%) and 12% of the requests.",
        "Probable cause: vllm-3 is short of KV cache: KV cache 99% full, 8 preemptions, 12 requests waiting.",
        "Last event: engine down of vllm-0 at 03:12:07 UTC (error EngineDeadError, status 503).",
        f"Traces: https://traces/{'0a' * 16} https://traces/{'0b' * 16}",
        "Restart it.",
        "Board: https://grafana/d/x",
        "Runbook: https://runbooks/x",
    ] == annotations["description"].splitlines()
    assert ("https://grafana/d/x", "https://runbooks/x") == (annotations["board_url"], annotations["runbook_url"])
    assert {"hurt": 2, "ids": {"acme": 7, "beta": 9}} == json.loads(annotations["tenants"])


def test_an_engine_that_died_when_it_began_is_the_first_suspect() -> None:
    story = STORY._replace(pressures=[Pressure("vllm-3", 0.99, 12.0, 8.0)])
    death = LastEvent(NOW - timedelta(seconds=20), "death", "vllm-3", {})

    def causes(event: LastEvent, *, suspects: bool = True) -> list[str]:
        description = compose(TEXT, story, event, NO_LINKS, suspects=suspects)["description"]
        return [line for line in description.splitlines() if line.startswith(("Probable cause", "Also"))]

    full = "vllm-3 is short of KV cache: KV cache 99% full, 8 preemptions, 12 requests waiting."
    assert ["Probable cause: death of vllm-3 at 03:11:47 UTC.", f"Also: {full}"] == causes(death)
    for event, suspects in (
        (death, False),
        (death._replace(at=NOW - timedelta(minutes=6)), True),
        (death._replace(kind="engine_ready"), True),
    ):
        assert [f"Probable cause: {full}"] == causes(event, suspects=suspects)


def test_what_is_not_known_is_not_in_the_page() -> None:
    assert {
        "summary": TEXT.summary,
        "description": "It is dead since 03:12:07 UTC.",
        "since": "2025-01-01T03:12:07+00:00",
    } == compose(TEXT, None, None, NO_LINKS)
    assert "It burns.\nSince 03:12:07 UTC." == compose(Text("x", ("It burns.",), NOW), None, None, NO_LINKS)["description"]


def test_only_the_tenants_hurt_most_are_named() -> None:
    story = STORY._replace(tenants=[Hurt(f"t{n}", n, 10 - n) for n in range(8)], tenants_hurt=9)

    annotations = compose(TEXT, story, None, NO_LINKS)

    assert "Tenants hurt: t0 10, t1 9, t2 8, t3 7, t4 6 and 4 more." in annotations["description"]
    assert {"t0": 0, "t1": 1, "t2": 2, "t3": 3, "t4": 4} == json.loads(annotations["tenants"])["ids"]


def test_a_page_says_where_it_knows_of_the_last_requests_only() -> None:
    described = compose(TEXT, STORY._replace(capped=True, requests=20_000), None, NO_LINKS)["description"]

    assert "Requests hurt among the last 20000: 37 (server error 30, timeout 7)." in described


def test_without_a_trace_address_the_ids_are_told() -> None:
    assert f"Traces: {'0a' * 16} {'0b' * 16}" in compose(TEXT, STORY, None, NO_LINKS)["description"]


def test_a_summary_has_at_most_120_characters() -> None:
    assert "x" * 120 == shorten("x" * 120)
    assert "x" * 119 + "…" == shorten("x" * 121)


def test_the_board_link_spans_the_time_of_the_alert_and_names_the_model() -> None:
    link = board_link("https://grafana.example.com/", "org/llama 3", NOW, NOW)

    assert link == (
        "https://grafana.example.com/d/llm-slo-on-call?from=1735699327000&to=1735702927000&var-model=org%2Fllama%203"
    )
    assert board_link(None, "llama", NOW, NOW) is None


def test_the_runbook_link_is_made_from_the_template() -> None:
    assert "https://wiki/NoData.md" == runbook_link(Alerts(runbook_url="https://wiki/{alertname}.md"), "NoData")
    assert runbook_link(Alerts(), "NoData") is None
