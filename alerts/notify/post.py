"""One POST to a sink, and what its answer means."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp

from alerts.notify.notification import Answer, Delivered, Refused, Retry

_ASKS_TO_WAIT = frozenset({408, 425, 429})
_BODY_BYTES = 1000
"""Of an answer no more is read: it comes from somebody else's machine."""


def no_error(status: int, body: str) -> bool:
    """Taken, unless the body is JSON that says otherwise: some answer 200 whatever happened."""
    try:
        said = json.loads(body)
    except ValueError:
        return True
    if not isinstance(said, dict):
        return True
    return said.get("ok") is not False and not said.get("error") and said.get("status") not in ("error", "failure")


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: object,
    timeout_seconds: float,
    *,
    taken: Callable[[int, str], bool] = no_error,
    secret: bool = False,
) -> Answer:
    """POST ``body`` as JSON. Never raises for what a sink does.

    :param taken: whether a status of success and a body say that it was taken; where they do not, it is tried again
    :param secret: whether the URL may be in no log
    """
    try:
        async with session.post(
            url,
            json=body,
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            # A redirect would carry a page to a place that nobody configured.
            allow_redirects=False,
        ) as response:
            text = (await response.content.read(_BODY_BYTES)).decode(errors="replace").strip()
            return _judge(response, text, taken)
    except TimeoutError:
        return Retry(f"no answer within {timeout_seconds:g} s")
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        return Refused(type(error).__name__ if secret else f"{type(error).__name__}: {url}")
    except (aiohttp.ClientError, OSError) as error:
        return Retry(type(error).__name__ if secret else f"{type(error).__name__}: {error}")


def _judge(response: aiohttp.ClientResponse, text: str, taken: Callable[[int, str], bool]) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Delivered() if taken(status, text) else Retry(f"HTTP {status} and not what was expected: {text[:80]!r}")
    if status >= 500 or status in _ASKS_TO_WAIT:
        after = response.headers.get("Retry-After", "")
        return Retry(f"HTTP {status}", float(after) if after.isdigit() else None)
    return Refused(f"HTTP {status}")


def rfc3339(time: datetime) -> str:
    """A time in UTC with microseconds and a Z."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
