"""The sampling weight that a producer states in W3C tracestate: how many calls one span stands for."""

from __future__ import annotations

import re

_THRESHOLD = re.compile(r"(?:^|,)\s*ot=(?:[^,;]*;)*th:(?P<threshold>[0-9a-f]{1,14})(?:;|,|\s|$)")
_SPACE = 2**56
"""OpenTelemetry's rejection threshold is a fraction of the 56-bit space (OTEP 235)."""


def sampling_weight(trace_state: str) -> float:
    """1 / sampling probability; 1.0 where the producer does not sample or does not say."""
    match = _THRESHOLD.search(trace_state)
    if match is None:
        return 1.0
    return _SPACE / (_SPACE - int(match["threshold"].ljust(14, "0"), 16))
