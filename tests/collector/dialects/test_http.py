"""Plain HTTP spans: proxies and servers that know a status and a path, and nothing of tokens."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from collector.request import Operation, Outcome
from collector.span import SpanKind
from tests.collector.dialects.example import EXAMPLES
from tests.collector.dialects.sent import Sendable, Sent, row, rows

SERVER, CLIENT = SpanKind.SERVER, SpanKind.CLIENT
PATH = "/v1/chat/completions"


def example(name: str) -> Sent:
    return EXAMPLES[name].sent


def envoy(attributes: Mapping[str, Sendable] = {}) -> Sent:
    sent = example("envoy")
    return sent._replace(attributes={**sent.attributes, **attributes})


@pytest.mark.parametrize(
    ("expected", "flags", "code"),
    [
        (Outcome.OK, "-", "200"),
        (Outcome.CANCELLED, "DC", "0"),
        (Outcome.CANCELLED, "DC", "200"),
        (Outcome.TIMEOUT, "UT", "504"),
        (Outcome.UNAVAILABLE, "UF,URX", "503"),
        (Outcome.UNAVAILABLE, "UH", "503"),
        (Outcome.UNAVAILABLE, "UC", "503"),
        (Outcome.OVERLOAD, "UO", "503"),
        (Outcome.RATE_LIMIT, "RL", "429"),
        (Outcome.VALIDATION, "NR", "404"),
        (Outcome.SERVER_ERROR, "-", "500"),
    ],
)
def test_flags_of_envoy_tell_what_failed(expected: Outcome, flags: str, code: str) -> None:
    found = row(envoy({"response_flags": flags, "http.status_code": code, "error": True}))
    assert (expected, int(code) or None) == (found.outcome, found.http_status)


def test_sidecars_of_caller_and_callee_are_one_request() -> None:
    caller = envoy()._replace(kind=CLIENT, id=1, seconds=2.1)
    callee = envoy({"upstream_cluster.name": "inbound|8000||"})._replace(id=2, start=0.05)
    assert 2.1 == row(caller, callee._replace(parent=1)).latency_seconds
    assert 2.1 == row(caller, callee._replace(parent=77)).latency_seconds


def test_two_requests_through_envoy_are_two() -> None:
    assert 2 == len(rows(envoy()._replace(id=1), envoy({"guid:x-request-id": "other"})._replace(id=2)))


def test_envoy_on_another_path_is_no_call_of_a_model() -> None:
    assert [] == rows(envoy({"http.url": "http://shop.example/cart"}))


def test_envoy_around_its_ai_gateway_adds_no_row() -> None:
    found = row(envoy()._replace(id=9, seconds=2.2), example("envoy_ai_gen_ai")._replace(parent=9))
    assert "envoy_ai_gen_ai" == found.dialect


@pytest.mark.parametrize(
    "keys",
    [
        {"http.method": "POST", "http.url": "http://llm/v1/chat/completions", "http.status_code": "200"},
        {"http.method": "POST", "http.path": PATH, "http.status_code": "200", "direction": "inbound"},
        {"http.request.method": "POST", "url.path": PATH, "http.response.status_code": 200, "user_agent.original": "openai"},
        {"http.request.method": "POST", "url.full": "http://llm/v1/chat/completions?x=1", "http.response.status_code": 200},
    ],
    ids=["istio", "linkerd", "fastapi", "traefik"],
)
def test_http_server_spans_of_old_and_new_conventions_are_read_alike(keys: dict[str, Sendable]) -> None:
    found = row(Sent(keys, kind=SERVER))
    assert (Outcome.OK, 200, Operation.CHAT) == (found.outcome, found.http_status, found.operation)


def test_open_traefik_writes_a_span_per_hop_and_one_request() -> None:
    keys: dict[str, Sendable] = {"url.path": PATH, "http.response.status_code": 504, "entry_point": "web"}
    scope = "github.com/traefik/traefik"
    root = Sent(keys, scope=scope, kind=SERVER)
    router = Sent({"traefik.router.name": "llm"}, scope=scope, id=2, parent=1)
    attempts = [Sent(keys, scope=scope, kind=CLIENT, id=3 + number, parent=2) for number in range(2)]
    assert Outcome.TIMEOUT is row(root, router, *attempts).outcome


def test_traefik_hub_reads_the_status_around_its_request_span() -> None:
    keys: dict[str, Sendable] = {"url.path": PATH, "http.response.status_code": 429}
    root = Sent(keys, scope="github.com/traefik/traefik", kind=SERVER, id=9, seconds=3.0)
    inner = example("traefik")
    bare = {key: value for key, value in inner.attributes.items() if not key.startswith("http")}
    found = row(root, inner._replace(attributes=bare, kind=SpanKind.INTERNAL, parent=9))
    assert (Outcome.RATE_LIMIT, 429, 40) == (found.outcome, found.http_status, found.input_tokens)
