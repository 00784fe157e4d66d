"""llm-d's endpoint picker and its sidecar: they name a model, and tell of no call. Engine and gateway do that."""

from __future__ import annotations

from collector.dialects.dialect import Dialect, Role, of
from collector.request import ObservedBy

LLM_D = Dialect(
    name="llm_d",
    title="llm-d endpoint picker and sidecar",
    scopes=("llm-d-*",),
    observed_by=of(ObservedBy.GATEWAY),
    role=Role.NOTHING,
    unknown=("everything of a call: no tokens, no outcome",),
)
