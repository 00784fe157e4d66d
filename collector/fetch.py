"""Asking a target: its health, its page of metrics, and what it says of itself. Each answer is bounded in time and size."""

from __future__ import annotations

import json

import aiohttp

from collector.engines.engine import HEALTH_TIMEOUT_SECONDS, Question
from collector.sample import Health

SCRAPE_TIMEOUT_SECONDS = 10.0
LARGEST_PAGE_BYTES = 8 * 2**20
_LARGEST_ANSWER_BYTES = 2**20
_LONGEST_ANSWER = 100


class FailedScrape(Exception):
    """A target gave no exposition. The message says why, without what it answered beyond 80 characters."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        """The HTTP status of an answer that is no page."""


def session() -> aiohttp.ClientSession:
    """A client that connects anew each time.

    Users do too; and a kept connection would stay with one process behind a name, and race with the server's idle timeout,
    which is vLLM's 5 s and our interval.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), cookie_jar=aiohttp.DummyCookieJar())


async def ask_health(
    client: aiohttp.ClientSession, url: str, path: str = "/health", timeout_seconds: float = HEALTH_TIMEOUT_SECONDS
) -> tuple[Health, int | None]:
    """One health check, with the HTTP status of the answer. A redirect is no health: a login page answers 200 too."""
    try:
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        async with client.get(f"{url}{path}", timeout=timeout, allow_redirects=False) as response:
            return (Health.READY if response.status == 200 else Health.FAILING), response.status
    except (aiohttp.ClientError, TimeoutError):
        return Health.UNREACHABLE, None


async def fetch(
    client: aiohttp.ClientSession, url: str, *, most_bytes: int = LARGEST_PAGE_BYTES, seconds: float = SCRAPE_TIMEOUT_SECONDS
) -> str:
    """The text of a page.

    :raises FailedScrape: where there is none, or one too large or too slow
    """
    try:
        async with client.get(url, timeout=aiohttp.ClientTimeout(total=seconds)) as response:
            if response.status != 200:
                raise FailedScrape(f"HTTP {response.status}", response.status)
            body = bytearray()
            while len(body) <= most_bytes and (more := await response.content.read(most_bytes + 1 - len(body))):
                body += more
    except TimeoutError:
        raise FailedScrape(f"no answer within {seconds:.0f} s") from None
    except aiohttp.ClientError as error:
        raise FailedScrape(type(error).__name__) from error
    if len(body) > most_bytes:
        raise FailedScrape(f"a page of more than {most_bytes} bytes")
    return body.decode("utf-8", "replace")


async def ask(client: aiohttp.ClientSession, url: str, questions: tuple[Question, ...]) -> str | None:
    """What a target says of itself in JSON; ``None`` where it answers none of the questions."""
    for question in questions:
        try:
            text = await fetch(
                client, f"{url}{question.path}", most_bytes=_LARGEST_ANSWER_BYTES, seconds=HEALTH_TIMEOUT_SECONDS
            )
            answer = json.loads(text)
            for key in question.keys:
                answer = answer[key]
        except (FailedScrape, ValueError, LookupError, TypeError, RecursionError):
            continue
        # What is not printable, a lone surrogate above all, no database takes.
        if isinstance(answer, str) and answer and answer.isprintable():
            return answer[:_LONGEST_ANSWER]
    return None
