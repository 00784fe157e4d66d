"""Exceptions on which a caller decides differently.

An exception class exists here only because somebody catches it by name and does something other than give up.
"""

from __future__ import annotations


class ConfigError(Exception):
    """The configuration is wrong. The message names the file, the line, the key, and what was expected. Exit code 2."""


class MalformedBody(Exception):
    """A request body that is not OTLP. The sender gets 400 (HTTP) or INVALID_ARGUMENT (gRPC) and must not retry."""


class BodyTooLarge(Exception):
    """A request body with more in it than one sender may send at once: 413 (HTTP) or RESOURCE_EXHAUSTED (gRPC)."""


class Unauthenticated(Exception):
    """A sender without a token that counts: 401 (HTTP) or UNAUTHENTICATED (gRPC). The message says what is asked for."""


class Forbidden(Exception):
    """A sender whose token may not do this: 403 (HTTP) or PERMISSION_DENIED (gRPC). The message says what it may."""


class Overloaded(Exception):
    """No room to take more. The sender gets 429 or 503 with Retry-After and must retry.

    ``retry_after_seconds`` is what the sender is asked to wait.
    """

    def __init__(self, reason: str, retry_after_seconds: int) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class StoreUnavailable(Overloaded):
    """Postgres did not commit. Nothing was acknowledged, so the sender keeps the data."""


class Unstorable(Overloaded):
    """Postgres answered, and does not take something in a batch. The same batch will not be taken later either."""


class MalformedExposition(Exception):
    """A scrape answered something that is not the Prometheus text format. The message quotes the offending text."""


class ForeignDataDirectory(Exception):
    """The data directory belongs to another major version of Postgres, another user, or is no data directory."""


class AddressUnavailable(Exception):
    """A listener cannot have its address. The message names the key, the address and why. Exit code 3."""

    def __init__(self, name: str, address: str, reason: str) -> None:
        super().__init__(f"listen.{name}: cannot listen on {address}: {reason}")


class ServerFailed(Exception):
    """The embedded Postgres cannot run here. The message says why and what to do; trying again does not help."""


class UnsuitableDatabase(Exception):
    """The database cannot hold our tables: its server is too old, or it was migrated by a newer llm-slo. Not worth a retry."""
