from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.notify.alertmanager import MESSAGE_ALERTS, AlertmanagerNotifier, payload
from alerts.notify.notification import Answer, Delivered, Notification, Refused, Retry
from collector.sink import Alertmanager
from tests.alerts.member import Member, member

START = datetime(2025, 1, 1, 3, 12, 7, 250_000, tzinfo=UTC)
NOW = START + timedelta(minutes=10)


def notification(**changes: Any) -> Notification:
    fields: dict[str, Any] = {
        "fingerprint": "00000000deadbeef",
        "status": "firing",
        "starts_at": START,
        "ends_at": None,
        "labels": {"alertname": "EngineDead", "model": "llama", "replica": "vllm-0", "severity": "page"},
        "annotations": {"summary": "dead", "board_url": "https://grafana/d/x?var-model=org%2Fllama"},
    }
    return Notification(**(fields | changes))


@pytest.fixture
async def am() -> AsyncIterator[Member]:
    async with member() as one:
        yield one


async def send(url: str, *message: Notification, timeout_seconds: float = 5.0) -> Answer:
    async with aiohttp.ClientSession() as session:
        config = Alertmanager(name="am-0", url=url, timeout_seconds=timeout_seconds)
        return await AlertmanagerNotifier(config, session, url="http://llm-slo", now=lambda: NOW).send(message)


def test_what_fires_ends_four_resends_from_now_unless_it_is_sent_again() -> None:
    assert [
        {
            "labels": {"alertname": "EngineDead", "model": "llama", "replica": "vllm-0", "severity": "page"},
            "annotations": {"summary": "dead", "board_url": "https://grafana/d/x?var-model=org%2Fllama"},
            "startsAt": "2025-01-01T03:12:07.250000Z",
            "endsAt": "2025-01-01T03:26:07.250000Z",
            "generatorURL": "https://grafana/d/x?var-model=org%2Fllama",
        }
    ] == payload([notification()], "http://llm-slo", NOW)


def test_what_is_resolved_ended_when_it_did() -> None:
    (alert,) = payload([notification(status="resolved", ends_at=START + timedelta(seconds=90))], "", NOW)

    assert "2025-01-01T03:13:37.250000Z" == alert["endsAt"]


def test_an_alert_that_rose_is_a_ticket_that_is_over_and_a_page_that_began_when_the_ticket_did() -> None:
    page, ticket = payload([notification(raised_at=START + timedelta(seconds=60))], "", NOW)

    assert ("page", "2025-01-01T03:26:07.250000Z") == (page["labels"]["severity"], page["endsAt"])  # type: ignore[index]
    assert ("ticket", "2025-01-01T03:13:07.250000Z") == (ticket["labels"]["severity"], ticket["endsAt"])  # type: ignore[index]
    assert page["startsAt"] == ticket["startsAt"] == "2025-01-01T03:12:07.250000Z"


def test_the_ticket_that_is_over_has_the_label_that_tickets_have_here() -> None:
    _, ticket = payload([notification(raised_at=START + timedelta(seconds=60))], "", NOW, "P4")

    assert "P4" == ticket["labels"]["severity"]  # type: ignore[index]


def test_a_clock_that_was_set_back_makes_no_alert_end_before_it_starts() -> None:
    ended = notification(status="resolved", ends_at=START - timedelta(hours=1))

    assert ["2025-01-01T03:12:07.250000Z"] == [alert["endsAt"] for alert in payload([ended], "", NOW)]


@pytest.mark.parametrize(
    "url", ["grafana/d/x", "http://", "https://grafana/ d", "http://grafana:80:80/", "http://g/%zz", "http://a b/"]
)
def test_a_link_that_is_in_doubt_is_left_out(url: str) -> None:
    (alert,) = payload([notification(annotations={"board_url": url})], url, NOW)

    assert "generatorURL" not in alert


@given(st.one_of(st.text(), st.text().map("https://grafana/d/".__add__), st.from_regex(r"https?://[^ ]*", fullmatch=True)))
def test_a_link_that_is_kept_is_a_url(url: str) -> None:
    (alert,) = payload([notification(annotations={"board_url": url})], "", NOW)

    if "generatorURL" in alert:
        assert url == alert["generatorURL"]
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https")
        assert parts.netloc
        assert url.isascii()
        assert url.isprintable()


async def test_a_member_takes_alerts_at_version_2_of_its_api(am: Member) -> None:
    assert Delivered() == await send(am.url, notification())
    assert [("EngineDead", "page", "2025-01-01T03:26:07.250000Z")] == am.told


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_a_member_in_trouble_is_tried_again(am: Member, status: int) -> None:
    am.status = status

    assert Retry(f"HTTP {status}") == await send(am.url, notification())


@pytest.mark.parametrize("status", [400, 422, 404, 410])
async def test_a_member_that_refuses_is_not_tried_again(am: Member, status: int) -> None:
    am.status = status

    assert Refused(f"HTTP {status}") == await send(am.url, notification())


async def test_a_member_that_is_not_there_is_tried_again() -> None:
    async with member() as gone:
        url = gone.url

    assert isinstance(await send(url, notification()), Retry)


def test_alerts_of_all_groups_go_together_but_not_without_end() -> None:
    config = Alertmanager(name="am-0", url="http://am")
    notifier = AlertmanagerNotifier(config, None, url="", now=lambda: NOW)  # type: ignore[arg-type]  # nothing is sent
    many = [notification(fingerprint=str(number), labels={"alertname": str(number)}) for number in range(MESSAGE_ALERTS + 1)]

    assert [many[:MESSAGE_ALERTS], many[MESSAGE_ALERTS:]] == notifier.messages(many)
