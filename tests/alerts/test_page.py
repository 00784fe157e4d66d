from __future__ import annotations

from datetime import UTC, datetime

from alerts.page import Failure, LastEvent, Links, board_link, compose, shorten
from alerts.symptoms import Text
from collector.request import Outcome

NOW = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)
TEXT = Text("llama on vllm-0: engine dead since 03:11:56 UTC, 0/1 ready", ("It is dead.",), NOW)
NO_LINKS = Links(None, None, "")


def test_a_page_holds_verdict_harm_cause_and_links() -> None:
    failures = [
        Failure("acme", Outcome.SERVER_ERROR, 20),
        Failure("beta", Outcome.SERVER_ERROR, 10),
        Failure("acme", Outcome.TIMEOUT, 7),
    ]
    event = LastEvent(NOW, "engine_down", "vllm-0", {"status": "503", "error": "EngineDeadError"})
    links = Links("https://grafana/d/x", "https://runbooks/x", "Restart it.")

    annotations = compose(TEXT, failures, event, links)

    assert TEXT.summary == annotations["summary"]
    assert [
        "It is dead.",
        "Requests hurt in the last 5 min: 37 (server error 30, timeout 7).",
        "Tenants hurt: acme 27, beta 10.",
        "Last event: engine down of vllm-0 at 03:12:07 UTC (error EngineDeadError, status 503).",
        "Restart it.",
        "Board: https://grafana/d/x",
        "Runbook: https://runbooks/x",
    ] == annotations["description"].splitlines()
    assert ("https://grafana/d/x", "https://runbooks/x") == (annotations["board_url"], annotations["runbook_url"])


def test_what_is_not_known_is_not_in_the_page() -> None:
    assert {"summary": TEXT.summary, "description": "It is dead.", "since": "2025-01-01T03:12:07+00:00"} == compose(
        TEXT, [], None, NO_LINKS
    )


def test_only_the_tenants_hurt_most_are_named() -> None:
    failures = [Failure(f"t{n}", Outcome.TIMEOUT, 10 - n) for n in range(8)]

    assert "Tenants hurt: t0 10, t1 9, t2 8, t3 7, t4 6 and 3 more." in compose(TEXT, failures, None, NO_LINKS)["description"]


def test_a_summary_has_at_most_120_characters() -> None:
    assert "x" * 120 == shorten("x" * 120)
    assert "x" * 119 + "…" == shorten("x" * 121)


def test_the_board_link_spans_the_time_of_the_alert_and_names_the_model() -> None:
    link = board_link("https://grafana.example.com/", "org/llama 3", NOW, NOW)

    assert link == (
        "https://grafana.example.com/d/llm-slo-on-call?from=1735699327000&to=1735702927000&var-model=org%2Fllama%203"
    )
    assert board_link(None, "llama", NOW, NOW) is None
