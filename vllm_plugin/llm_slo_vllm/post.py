"""One HTTP post of the standard library."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from llm_slo_vllm.setting import Setting


class Refused(Exception):
    """The receiver answered, and will not take this body however often it is sent."""


def post(setting: Setting, path: str, body: object, seconds: float) -> None:
    """Send a body as JSON.

    :raises Refused: where sending it again is of no use
    :raises OSError: where it may be; urllib's errors are OSErrors
    """
    request = urllib.request.Request(setting.endpoint + path, json.dumps(body).encode(), headers=setting.headers, method="POST")
    try:
        with _OPENER.open(request, timeout=seconds) as response:
            response.read(4096)
    except urllib.error.HTTPError as error:
        if error.code in (429, 502, 503, 504):
            raise
        raise Refused(f"{setting.endpoint}{path} answered {error.code}") from None


# A proxy that the environment names is for the internet, and our receiver is next door.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def attributes(values: dict[str, object]) -> list[dict[str, object]]:
    """Attributes as OTLP/JSON has them; what is ``None`` is left out."""
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}


def now_ns() -> int:
    """The clock [ns since the epoch]."""
    return time.time_ns()
