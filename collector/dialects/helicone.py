"""Helicone's gateway: a span named ``request`` that holds a trace id. There is nothing to read, and no row."""

from __future__ import annotations

from collector.dialects.dialect import Dialect, Role, never, of
from collector.request import ObservedBy

HELICONE = Dialect(
    name="helicone",
    title="Helicone AI gateway",
    recognises=never,
    besides="nothing: its spans carry no data of a call",
    observed_by=of(ObservedBy.GATEWAY),
    role=Role.NOTHING,
    unknown=("everything: users, sessions and models travel in headers, tokens in metrics",),
)
