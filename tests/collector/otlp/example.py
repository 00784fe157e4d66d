"""An allow-list, and a next stage that remembers what it was given."""

from __future__ import annotations

from collector.otlp.allow import AllowList, Decoded, Receipt
from collector.request import Reject
from collector.token import Gate, Principal
from tests.collector.example import now

ALLOW = AllowList(
    span=frozenset({"gen_ai.request.model", "gen_ai.usage.input_tokens", "error.type", "tenant.id", "a", "b", "c"}),
    resource=frozenset({"service.name", "a"}),
    event=frozenset({"exception.type", "a"}),
    error_texts=frozenset({"exception.message", "error.message"}),
    error_classes=frozenset({"error.type", "exception.type"}),
    documents={"document": ("n", "m.0.id")},
)

OPEN = Gate(required=False, now=now)
"""A gate that asks nobody for a token."""


class Next:
    """The stage after the receivers."""

    def __init__(self) -> None:
        self.bodies: list[Decoded] = []
        self.principals: list[Principal] = []
        self.rejected: tuple[Reject, ...] = ()
        self.fails: Exception | None = None

    async def __call__(self, decoded: Decoded, principal: Principal) -> Receipt:
        if self.fails is not None:
            raise self.fails
        self.bodies.append(decoded)
        self.principals.append(principal)
        return Receipt(self.rejected)
