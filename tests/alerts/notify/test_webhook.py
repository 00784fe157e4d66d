from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import aiohttp
import pytest

from alerts.notify.notification import Answer, Delivered, Notification, Refused, Retry, grouped
from alerts.notify.post import rfc3339
from alerts.notify.webhook import WebhookNotifier, payload
from collector.sink import Webhook
from tests.alerts.receiver import Receiver, receiving

START = datetime(2025, 1, 1, 3, 12, 7, 250_000, tzinfo=UTC)


def notification(status: str = "firing", **changes: Any) -> Notification:
    fields: dict[str, Any] = {
        "fingerprint": "00000000deadbeef",
        "status": status,
        "starts_at": START,
        "ends_at": START + timedelta(minutes=5) if status == "resolved" else None,
        "labels": {"alertname": "EngineDead", "model": "llama", "replica": "vllm-0", "severity": "page"},
        "annotations": {"summary": "dead", "board_url": "https://grafana/d/x"},
    }
    return Notification(**(fields | changes))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def send(url: str, group: list[Notification], timeout_seconds: float = 5.0) -> Answer:
    async with aiohttp.ClientSession() as session:
        webhook = Webhook(name="hook", url=url, timeout_seconds=timeout_seconds)
        return await WebhookNotifier(webhook, session, url="http://llm-slo").send(group)


def test_the_payload_is_alertmanagers_version_4_member_by_member() -> None:
    other = notification(
        "resolved",
        fingerprint="0000000000000001",
        labels={"alertname": "EngineDead", "model": "llama", "replica": "vllm-1", "severity": "page"},
        annotations={"summary": "dead"},
    )

    assert {
        "version": "4",
        "groupKey": '{}:{alertname="EngineDead", model="llama"}',
        "truncatedAlerts": 0,
        "receiver": "hook",
        "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "EngineDead", "model": "llama", "replica": "vllm-0", "severity": "page"},
                "annotations": {"summary": "dead", "board_url": "https://grafana/d/x"},
                "startsAt": "2025-01-01T03:12:07.250000Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://grafana/d/x",
                "fingerprint": "00000000deadbeef",
            },
            {
                "status": "resolved",
                "labels": {"alertname": "EngineDead", "model": "llama", "replica": "vllm-1", "severity": "page"},
                "annotations": {"summary": "dead"},
                "startsAt": "2025-01-01T03:12:07.250000Z",
                "endsAt": "2025-01-01T03:17:07.250000Z",
                "generatorURL": "http://llm-slo",
                "fingerprint": "0000000000000001",
            },
        ],
        "groupLabels": {"alertname": "EngineDead", "model": "llama"},
        "commonLabels": {"alertname": "EngineDead", "model": "llama", "severity": "page"},
        "commonAnnotations": {"summary": "dead"},
        "externalURL": "http://llm-slo",
    } == payload([notification(), other], "hook", "http://llm-slo")


def test_a_group_is_resolved_when_all_its_alerts_are() -> None:
    assert "resolved" == payload([notification("resolved")], "hook", "")["status"]


def test_quotes_in_a_label_are_escaped_in_the_group_key() -> None:
    labels = {"alertname": "A", "model": 'a"b\\c'}

    assert '{}:{alertname="A", model="a\\"b\\\\c"}' == payload([notification(labels=labels)], "hook", "")["groupKey"]


def test_times_are_written_in_utc() -> None:
    assert "2025-01-01T01:00:00.000000Z" == rfc3339(datetime(2025, 1, 1, 3, tzinfo=timezone(timedelta(hours=2))))


def test_alerts_of_one_name_and_model_are_one_message() -> None:
    first, second = notification(), notification(fingerprint="1")
    other = notification(labels={"alertname": "EngineDead", "model": "mistral", "replica": "vllm-9"})

    assert [[first, second], [other]] == grouped([first, other, second])


async def test_a_sink_that_answers_2xx_has_taken_it(receiver: Receiver) -> None:
    receiver.status = 202

    assert Delivered() == await send(receiver.url, [notification()])
    assert [("EngineDead", "firing")] == receiver.told


@pytest.mark.parametrize("text", ["", "ok", "[]", '{"status": "success"}', '{"ok": true, "error": null}'])
async def test_a_body_that_tells_of_no_error_is_none(receiver: Receiver, text: str) -> None:
    receiver.text = text

    assert Delivered() == await send(receiver.url, [notification()])


@pytest.mark.parametrize("text", ['{"ok": false}', '{"error": "no such channel"}', '{"status": "error"}'])
async def test_an_error_that_comes_with_a_200_is_an_error(receiver: Receiver, text: str) -> None:
    receiver.text = text

    assert Retry(f"HTTP 200 and not what was expected: {text!r}") == await send(receiver.url, [notification()])


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_a_sink_in_trouble_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status = status

    assert Retry(f"HTTP {status}") == await send(receiver.url, [notification()])


async def test_a_sink_may_say_when_to_try_again(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "30"}

    assert Retry("HTTP 429", 30.0) == await send(receiver.url, [notification()])


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_sink_that_refuses_is_not_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status = status

    assert Refused(f"HTTP {status}") == await send(receiver.url, [notification()])


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 302, {"Location": receiver.url}

    assert Refused("HTTP 302") == await send(receiver.url, [notification()])
    assert 1 == receiver.seen


async def test_a_sink_that_hangs_is_left_after_its_timeout(receiver: Receiver) -> None:
    receiver.answers.clear()

    assert Retry("no answer within 0.05 s") == await send(receiver.url, [notification()], timeout_seconds=0.05)


async def test_a_sink_that_is_not_there_is_tried_again() -> None:
    async with receiving() as gone:
        url = gone.url

    answer = await send(url, [notification()])
    assert isinstance(answer, Retry)
    assert "ClientConnectorError" in answer.error
