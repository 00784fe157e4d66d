from __future__ import annotations

import pytest

from collector.config import Sinks, parse_config
from collector.errors import ConfigError


def test_two_sinks_may_not_share_a_name_since_the_outbox_goes_by_it() -> None:
    text = """sinks:
  webhooks: [{name: pager, url: "http://a"}]
  alertmanagers: [{name: pager, url: "http://b"}]
"""
    with pytest.raises(ConfigError, match="pager is given twice"):
        parse_config(text, "llm-slo.yaml")


def test_every_member_of_an_alertmanager_cluster_is_a_sink() -> None:
    text = """sinks:
  webhooks: [{name: pager, url: "http://a"}]
  alertmanagers: [{name: am-0, url: "http://b"}, {name: am-1, url: "http://c"}]
"""
    assert ["pager", "am-0", "am-1"] == parse_config(text, "llm-slo.yaml").sinks.names
    assert [] == Sinks().names


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("{}", None),
        ("listen: {otlp_http: '0.0.0.0:4318'}", True),
        ("listen: {otlp_grpc: '[::]:4317'}", True),
        ("{listen: {otlp_http: '0.0.0.0:4318'}, allow_anonymous: true}", False),
        ("{listen: {otlp_http: '0.0.0.0:4318'}, allow_anonymous: true, ingest: {require_tokens: true}}", True),
        ("ingest: {require_tokens: true}", True),
        ("ingest: {require_tokens: false}", False),
    ],
)
def test_senders_beyond_loopback_need_tokens_unless_the_configuration_says_that_they_do_not(
    text: str, required: bool | None
) -> None:
    assert required is parse_config(text, "llm-slo.yaml").tokens_required
