"""One POST to a sink, and what its answer means."""

from __future__ import annotations

from datetime import UTC, datetime

import aiohttp

from alerts.notify.notification import Answer, Delivered, Refused, Retry

_ASKS_TO_WAIT = frozenset({408, 425, 429})


async def post(session: aiohttp.ClientSession, url: str, body: object, timeout_seconds: float) -> Answer:
    """POST ``body`` as JSON. Never raises for what a sink does."""
    try:
        async with session.post(
            url,
            json=body,
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            # A redirect would carry a page to a place that nobody configured.
            allow_redirects=False,
        ) as response:
            return _judge(response)
    except TimeoutError:
        return Retry(f"no answer within {timeout_seconds:g} s")
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        return Refused(f"{type(error).__name__}: {url}")
    except (aiohttp.ClientError, OSError) as error:
        return Retry(f"{type(error).__name__}: {error}")


def _judge(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Delivered()
    if status >= 500 or status in _ASKS_TO_WAIT:
        after = response.headers.get("Retry-After", "")
        return Retry(f"HTTP {status}", float(after) if after.isdigit() else None)
    return Refused(f"HTTP {status}")


def rfc3339(time: datetime) -> str:
    """A time in UTC with microseconds and a Z."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
