from __future__ import annotations

import json
from collections import Counter
from itertools import islice

from demo.workload import CHAT, COMPLETIONS, TENANTS, Ask, asks, invalid_asks

COUNT = 400


def some(seed: int, invalid_share: float = 0.0) -> list[Ask]:
    return list(islice(asks(seed, "tiny", invalid_share), COUNT))


def test_same_seed_asks_the_same_and_another_does_not() -> None:
    assert some(1) == some(1)
    assert some(1) != some(2)


def test_every_tenant_and_kind_of_call_occurs() -> None:
    assert set(TENANTS) == {ask.tenant for ask in some(1)}
    kinds = Counter((ask.endpoint, ask.body.get("stream", False)) for ask in some(1))
    assert {(CHAT, True), (CHAT, False), (COMPLETIONS, True), (COMPLETIONS, False)} == set(kinds)
    assert {1, 2} == {ask.body.get("n", 1) for ask in some(1)}


def test_chats_of_a_tenant_share_their_system_prompt() -> None:
    prompts: dict[str, set[str]] = {}
    for ask in some(1):
        messages = ask.body.get("messages", [])
        assert isinstance(messages, list)
        if len(messages) == 2:
            prompts.setdefault(ask.tenant, set()).add(messages[0]["content"])
    assert {"acme": 1, "globex": 1} == {tenant: len(found) for tenant, found in prompts.items()}


def test_invalid_requests_are_those_that_the_server_refuses() -> None:
    for ask in islice(invalid_asks(1, "tiny"), COUNT):
        body = ask.body
        too_long = len(json.dumps(body)) > 6 * 2048  # characters: no text of these has more than 6 per token
        bad = body.get("temperature") == -1 or body["max_tokens"] == -5 or body.get("top_p") == "most"
        assert too_long or bad or body["model"] != "tiny"


def test_share_of_invalid_requests_is_as_asked() -> None:
    valid = {json.dumps(ask.body) for ask in some(1)}
    assert all(len(body) < 6000 for body in valid)
    spoilt = sum(ask.body["model"] != "tiny" for ask in some(1, 0.3))
    assert 20 < spoilt < 60  # a third of the three kinds, of 0.3 × 400
