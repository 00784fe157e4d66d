from __future__ import annotations

import pytest

from collector.config import parse_config
from collector.errors import ConfigError
from collector.metrics import EngineName
from collector.sink import Sinks


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


def test_two_targets_that_claim_one_replica_are_refused_with_both_named() -> None:
    text = "targets:\n  - url: http://a:8000\n    replica: vllm-0\n  - url: http://b:8000\n    replica: vllm-0\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "llm-slo.yaml")
    assert (
        "llm-slo.yaml:4: targets.1: 'http://b:8000' claims the replica 'vllm-0', which is 'http://a:8000' (targets.0): "
        "give each its own replica"
    ) == str(caught.value)


def test_target_may_state_its_engine_and_need_not() -> None:
    text = "targets:\n  - url: http://a:8000\n  - url: http://b:9400\n    engine: dcgm\n"
    assert [None, EngineName.DCGM] == [target.engine for target in parse_config(text, "llm-slo.yaml").targets]
