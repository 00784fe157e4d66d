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
