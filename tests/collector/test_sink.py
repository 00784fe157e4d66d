from __future__ import annotations

import pytest

from collector.config import parse_config
from collector.errors import ConfigError


def parse(text: str) -> None:
    parse_config(text, "llm-slo.yaml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sinks: {slack: [{name: chat}]}", "needs url_env or url_file, and not both"),
        ("sinks: {slack: [{name: chat, url_env: A, url_file: b}]}", "needs url_env or url_file, and not both"),
        ("sinks: {slack: [{name: chat, url: 'https://hooks.example.com/x'}]}", "sinks.slack.0.url: unknown key"),
        ("sinks: {pagerduty: [{name: pd}]}", "needs routing_key_env or routing_key_file"),
        ("sinks: {pagerduty: [{name: pd, routing_key: abc}]}", "routing_key: unknown key; did you mean 'routing_key_"),
        ("sinks: {slack: [{name: chat, url_env: A, tenants: nmes}]}", "'names', 'ids' or 'count'"),
        ("sinks: {slack: [{name: a, url_env: A}], pagerduty: [{name: a, routing_key_env: B}]}", "a is given twice"),
        ("alerts: {runbook_url: 'https://wiki/runbooks'}", "{alertname} has to be in it"),
        ("alerts: {runbook_url: 'https://wiki/{name}'}", "only {alertname} can be filled in"),
        ("alerts: {runbook_url: 'https://wiki/{alertname'}", "only {alertname} can be filled in"),
        ("alerts: {trace_url: 'https://t/{trace}'}", "only {trace_id} can be filled in"),
        ("alerts: {labels: {severity: high}}", "'severity' is a label of our own"),
        ("alerts: {labels: {1st: x}}", "'1st' is no name of a label"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert why in str(caught.value)


def test_a_secret_in_the_file_is_not_shown_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("sinks: {pagerduty: [{name: pd, routing_key: s3cret}]}")
    assert "s3cret" not in str(caught.value)


def test_only_what_pages_goes_to_pagerduty_unless_told_otherwise() -> None:
    sinks = parse_config(
        "sinks: {slack: [{name: chat, url_env: A}], pagerduty: [{name: pd, routing_key_env: B}]}", "llm-slo.yaml"
    ).sinks
    assert [("chat", ("page", "ticket"), "count"), ("pd", ("page",), "count")] == [
        (sink.name, sink.severities, sink.tenants) for sink in sinks.all
    ]
