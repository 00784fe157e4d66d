from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from alerts.notify.notification import Answer, Delivered, Notification, Refused, Retry
from alerts.notify.slack import SlackNotifier, payload
from collector.errors import ConfigError
from collector.sink import Slack
from tests.alerts.receiver import Receiver, receiving

START = datetime(2025, 1, 1, 3, 12, 7, tzinfo=UTC)


def notification(status: str = "firing", severity: str = "page", **annotations: str) -> Notification:
    return Notification(
        fingerprint="00000000deadbeef",
        status=status,
        starts_at=START,
        ends_at=START + timedelta(minutes=12) if status == "resolved" else None,
        labels={"alertname": "EngineDead", "model": "llama", "severity": severity},
        annotations={"summary": "llama is <dead> & gone", "description": "It is dead.\nRestart it."} | annotations,
    )


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    async with receiving() as one:
        one.text = "ok"
        monkeypatch.setenv("CHANNEL", one.url)
        yield one


async def send(*message: Notification) -> Answer:
    async with aiohttp.ClientSession() as session:
        return await SlackNotifier(Slack(name="chat", url_env="CHANNEL"), session, ticket="ticket").send(message)


def texts(body: dict[str, Any]) -> list[str]:
    return [block["text"]["text"] for block in body["blocks"]]


async def test_a_page_is_a_headline_and_what_to_know(receiver: Receiver) -> None:
    assert Delivered() == await send(notification())
    headline = ":red_circle: llama is &lt;dead&gt; &amp; gone"
    assert [
        {
            "text": headline,
            "blocks": [
                {"type": "section", "text": {"type": "mrkdwn", "text": f"*{headline}*"}},
                {"type": "section", "text": {"type": "mrkdwn", "text": "It is dead.\nRestart it."}},
            ],
        }
    ] == receiver.bodies


async def test_an_end_is_one_line_that_says_how_long_it_took(receiver: Receiver) -> None:
    await send(notification("resolved"))

    assert [":white_check_mark: Resolved after 12 min: llama is &lt;dead&gt; &amp; gone"] == [
        body["text"] for body in receiver.bodies
    ]
    assert 1 == len(texts(receiver.bodies[0]))


def test_a_ticket_looks_different_and_a_group_says_how_many() -> None:
    body = payload([notification(severity="P4"), notification()], "P4")

    assert ":large_yellow_circle: llama is &lt;dead&gt; &amp; gone (and 1 more)" == body["text"]


def test_no_text_is_longer_than_slack_takes() -> None:
    body: Any = payload([notification(description="x" * 9000 + "\nBoard: https://b\nRunbook: https://r")], "ticket")

    assert [3000] == [len(text) for text in texts(body)[1:]]
    assert texts(body)[1].endswith("x…\nBoard: https://b\nRunbook: https://r")


async def test_a_group_that_is_too_large_for_one_message_is_several(receiver: Receiver) -> None:
    notifier = SlackNotifier(Slack(name="chat", url_env="CHANNEL"), None, ticket="ticket")  # type: ignore[arg-type]  # nothing is sent

    assert [20, 20, 5] == [len(message) for message in notifier.messages([notification()] * 45)]


@pytest.mark.parametrize("text", ["", "<html>Sign in</html>", "invalid_payload"])
async def test_a_200_without_ok_is_no_delivery(receiver: Receiver, text: str) -> None:
    receiver.text = text

    assert Retry(f"HTTP 200 and not what was expected: {text!r}") == await send(notification())


@pytest.mark.parametrize(
    ("status", "answer"), [(404, Refused("HTTP 404")), (302, Refused("HTTP 302")), (500, Retry("HTTP 500"))]
)
async def test_what_slack_refuses_is_refused(receiver: Receiver, status: int, answer: Answer) -> None:
    receiver.status = status

    assert answer == await send(notification())


async def test_its_address_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:1/services/SECRET", "https://SECRET:x/"):
        monkeypatch.setenv("CHANNEL", url)
        answer = await send(notification())
        assert isinstance(answer, Retry | Refused)
        assert "SECRET" not in answer.error


def test_a_secret_that_is_missing_is_named_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHANNEL", raising=False)
    with pytest.raises(ConfigError) as caught:
        SlackNotifier(Slack(name="chat", url_env="CHANNEL"), None, ticket="ticket")  # type: ignore[arg-type]  # nothing is sent
    assert "sinks.slack (chat): url_env: the environment variable CHANNEL is not set, or empty" == str(caught.value)
