"""Tokens: who sends or reads, and whether they may. Pure: the time is an argument, and what is known was read before.

A token is ``slo_`` and 256 random bits. Postgres keeps its SHA-256 alone: a slow hash protects what people choose and others
guess, and these bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from collector.errors import Forbidden, StoreUnavailable, Unauthenticated

PREFIX = "slo_"
"""What every token begins with, so that scanners of repositories and logs find one that leaked."""
_BYTES = 32
_SCHEME = "bearer "
_RETRY_AFTER_SECONDS = 2


class Right(StrEnum):
    """What a token is good for."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"
    """Everything."""


class Token(NamedTuple):
    """A token as it is kept. ``hash`` is 32 bytes."""

    id: int
    hash: bytes
    tenant: str | None
    rights: frozenset[Right]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    note: str

    def state(self, now: datetime) -> str:
        """``active``, ``revoked`` or ``expired``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class Principal(NamedTuple):
    """Who a body is from. A tenant that is stated here is the tenant of everything in it, whatever it says itself."""

    tenant: str | None


ANONYMOUS = Principal(None)


def mint() -> str:
    """A new token, which nobody has seen."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def digest(token: str) -> bytes:
    """What is kept of a token: 32 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Gate:
    """Lets senders in by the tokens that were read last. Any thread may ask it.

    :param required: whether nobody may send without a token; ``None`` for: as soon as there is one, used up or not. Until
        tokens were read, that lets everybody in who shows none: a collector that starts while Postgres is away keeps spans.
    """

    def __init__(self, *, required: bool | None, now: Callable[[], datetime]) -> None:
        self._required = required
        self._now = now
        self._known: dict[bytes, Token] | None = None

    def learn(self, tokens: Iterable[Token]) -> None:
        """Go by these tokens from now on."""
        # Replaced whole, so that a thread sees the old ones or the new ones.
        self._known = {token.hash: token for token in tokens}

    def admit(self, authorization: str | None, right: Right = Right.INGEST) -> Principal:
        """Whoever an ``Authorization`` header speaks for.

        :raises Unauthenticated: there is no token, or it is none of ours, revoked or expired
        :raises Forbidden: the token may not do this
        :raises StoreUnavailable: the tokens were never read, so nobody can be told apart
        """
        known = self._known
        if authorization is None:
            if self._required or (self._required is None and known):
                raise Unauthenticated("a token is required: Authorization: Bearer slo_…")
            return ANONYMOUS
        if known is None:
            raise StoreUnavailable("tokens were not read yet", _RETRY_AFTER_SECONDS)
        token = _find(known, authorization)
        if token is None or token.state(self._now()) != "active":
            raise Unauthenticated("this token is unknown, revoked or expired")
        if not token.rights & {right, Right.ADMIN}:
            raise Forbidden(f"this token may {' and '.join(sorted(token.rights))}, not {right}")
        return Principal(token.tenant)


def _find(known: dict[bytes, Token], authorization: str) -> Token | None:
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    hashed = digest(authorization[len(_SCHEME) :].strip())
    # How long a look-up takes depends on the hash alone, of which a sender who has no token can choose no part.
    token = known.get(hashed)
    return token if token is not None and hmac.compare_digest(token.hash, hashed) else None
