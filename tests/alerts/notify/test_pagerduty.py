from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from alerts.notify.notification import Answer, Delivered, Notification, Refused, Retry
from alerts.notify.pagerduty import PagerDutyNotifier, payload
from collector.errors import ConfigError
from collector.sink import PagerDuty
from tests.alerts.receiver import Receiver, receiving

START = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)
SEVERITIES = {"ticket": "warning", "page": "critical"}


def notification(status: str = "firing", **labels: str) -> Notification:
    return Notification(
        fingerprint="00000000deadbeef",
        status=status,
        starts_at=START,
        ends_at=START + timedelta(minutes=12) if status == "resolved" else None,
        labels={"alertname": "EngineDead", "model": "llama", "replica": "vllm-0", "environment": "production"}
        | {"severity": "page"}
        | labels,
        annotations={"summary": "dead", "description": "It is dead.", "runbook_url": "https://r", "board_url": "https://b"},
    )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        one.status, one.text = 202, '{"status": "success"}'
        yield one


async def send(url: str, tmp_path: Path, one: Notification) -> Answer:
    key = tmp_path / "key"
    key.write_text("k3y\n")
    async with aiohttp.ClientSession() as session:
        service = PagerDuty(name="pd", url=url, routing_key_file=key)
        return await PagerDutyNotifier(service, session, url="http://llm-slo", severities=SEVERITIES).send([one])


async def test_a_page_triggers_and_its_end_resolves_the_same_incident(receiver: Receiver, tmp_path: Path) -> None:
    assert Delivered() == await send(receiver.url, tmp_path, notification())
    assert Delivered() == await send(receiver.url, tmp_path, notification("resolved"))
    labels = dict(notification().labels)

    assert [
        {
            "routing_key": "k3y",
            "dedup_key": "00000000deadbeef",
            "event_action": "trigger",
            "client": "llm-slo",
            "client_url": "https://b",
            "links": [{"href": "https://b", "text": "Board"}, {"href": "https://r", "text": "Runbook"}],
            "payload": {
                "summary": "dead",
                "source": "vllm-0",
                "severity": "critical",
                "timestamp": "2025-01-01T03:12:07.000000Z",
                "class": "EngineDead",
                "component": "llama",
                "group": "production",
                "custom_details": {"description": "It is dead.", "labels": labels},
            },
        },
        {"routing_key": "k3y", "dedup_key": "00000000deadbeef", "event_action": "resolve"},
    ] == receiver.bodies


@pytest.mark.parametrize(("severity", "theirs"), [("page", "critical"), ("ticket", "warning"), ("P1", "critical")])
def test_a_severity_that_is_not_known_counts_as_a_page(severity: str, theirs: str) -> None:
    body: Any = payload(notification(severity=severity), "k", "", SEVERITIES)

    assert theirs == body["payload"]["severity"]


def test_no_text_is_longer_than_pagerduty_takes() -> None:
    long = Notification(
        fingerprint="f" * 300,
        status="firing",
        starts_at=START,
        ends_at=None,
        labels={"alertname": "A"},
        annotations={"summary": "x" * 2000, "description": "y" * 20_000},
    )
    body: Any = payload(long, "k", "", SEVERITIES)

    assert (255, 1024, 10_000) == (
        len(body["dedup_key"]),
        len(body["payload"]["summary"]),
        len(body["payload"]["custom_details"]["description"]),
    )


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, Refused("HTTP 400")),
        (301, Refused("HTTP 301")),
        (429, Retry("HTTP 429", 7.0)),
        (503, Retry("HTTP 503", 7.0)),
        (200, Retry("HTTP 200 and not what was expected: '<html>'")),
    ],
)
async def test_anything_but_202_is_no_delivery(receiver: Receiver, tmp_path: Path, status: int, answer: Answer) -> None:
    receiver.status, receiver.text, receiver.headers = status, "<html>", {"Retry-After": "7"}

    assert answer == await send(receiver.url, tmp_path, notification())


def test_each_event_is_about_one_incident(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    service = PagerDuty(name="pd", routing_key_file=tmp_path / "key")
    notifier = PagerDutyNotifier(service, None, url="", severities={})  # type: ignore[arg-type]  # nothing is sent

    assert [1, 1] == [len(message) for message in notifier.messages([notification(), notification()])]


@pytest.mark.parametrize(("text", "why"), [(None, "cannot be read: No such file or directory"), (" \n", "is empty")])
def test_a_secret_that_cannot_be_read_is_named_by_its_key(tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "key"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        PagerDuty(name="pd", routing_key_file=file).routing_key()

    assert f"sinks.pagerduty (pd): routing_key_file: {file} {why}" == str(caught.value)
