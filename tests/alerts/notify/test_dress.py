from __future__ import annotations

import json
from datetime import UTC, datetime

from alerts.notify.dress import dress
from alerts.notify.notification import Notification
from collector.config import Config, Model
from collector.sink import Alerts, Tenants

START = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)
DESCRIPTION = (
    "acme/llama fails.\nTenants hurt: acme 27, acme-eu 10 and 3 more.\nStands out: tenant acme has 27 of 37 failures.\n"
    "Traces: https://t/acmeacme"
)


def notification(**labels: str) -> Notification:
    return Notification(
        fingerprint="00000000deadbeef",
        status="firing",
        starts_at=START,
        ends_at=None,
        labels={"alertname": "SLOBurn", "model": "llama", "severity": "page"} | labels,
        annotations={
            "summary": "llama (acme): 3 of 4 failed",
            "description": DESCRIPTION,
            "tenants": json.dumps({"hurt": 5, "ids": {"acme": 7, "acme-eu": 8}}),
        },
    )


def dressed(tenants: Tenants, **labels: str) -> tuple[dict[str, str], dict[str, str]]:
    found = dress(notification(**labels), tenants, Config())
    assert "00000000deadbeef" == found.fingerprint
    return dict(found.labels), dict(found.annotations)


def test_a_sink_of_our_own_gets_names_and_nothing_that_is_ours_alone() -> None:
    labels, annotations = dressed("names", tenant="acme")

    assert "acme" == labels["tenant"]
    assert {"summary": "llama (acme): 3 of 4 failed", "description": DESCRIPTION} == annotations


def test_with_ids_every_mention_is_an_id() -> None:
    labels, annotations = dressed("ids", tenant="acme")

    assert "t-7" == labels["tenant"]
    assert {
        "summary": "llama (t-7): 3 of 4 failed",
        "description": "t-7/llama fails.\nTenants hurt: t-7 27, t-8 10 and 3 more.\n"
        "Stands out: tenant t-7 has 27 of 37 failures.\nTraces: https://t/acmeacme",
    } == annotations


def test_with_a_count_no_tenant_is_told_apart_but_two_alerts_are() -> None:
    labels, annotations = dressed("count", tenant="acme")

    assert "hidden-00000000" == labels["tenant"]
    assert (
        "hidden/llama fails.\nTenants hurt: 5.\nStands out: tenant hidden has 27 of 37 failures.\n"
        in (annotations["description"])
    )
    assert not any("acme" in text.replace("acmeacme", "") for text in annotations.values())


def test_a_tenant_of_which_no_id_is_known_is_hidden_all_the_same() -> None:
    labels, annotations = dressed("ids", tenant="beta")
    bare = dress(
        Notification(
            fingerprint="0123456789abcdef",
            status="resolved",
            starts_at=START,
            ends_at=START,
            labels={"alertname": "SLOBurn", "tenant": "beta", "severity": "page"},
            annotations={"summary": "beta burns"},
        ),
        "ids",
        Config(),
    )

    assert ("hidden-00000000", "hidden-01234567") == (labels["tenant"], bare.labels["tenant"])
    assert {"summary": "hidden burns"} == bare.annotations
    assert "tenants" not in annotations


def test_labels_owner_and_the_words_for_severities_are_those_of_the_configuration() -> None:
    config = Config(
        alerts=Alerts(labels={"team": "llm"}, page_severity="critical", ticket_severity="info"),
        models={"llama": Model(owner="ml-platform")},
    )

    assert {
        "team": "llm",
        "owner": "ml-platform",
        "alertname": "SLOBurn",
        "model": "llama",
        "severity": "critical",
    } == dress(notification(), "names", config).labels
    assert "info" == dress(notification(severity="ticket"), "names", config).labels["severity"]
    assert "none" == dress(notification(severity="none"), "names", config).labels["severity"]
