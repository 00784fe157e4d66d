"""Attribute values to fields of a Request: coercion, units, and what is too absurd to believe.

Producers write numbers as strings, booleans as words, texts in quotes and lists as JSON text; all of these are read. What
cannot be read as what the field is, is malformed, and the error names field and value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

from collector.dialects.dialect import Source
from collector.fragment import Hashed
from collector.request import Reject, RejectReason
from collector.span import Attributes, Value

LARGEST_TOKENS = 100_000_000
"""No context is within a factor of ten of this."""
LARGEST_SECONDS = 86_400.0
LONGEST_TEXT = 256
LONGEST_ID = 1024
"""Some gateways put a whole route into the id of an answer."""
_IDS = frozenset({"request_id", "response_id"})
LARGEST_INT4 = 2**31 - 1


class Malformed(Exception):
    """A value that no row can be made of. Caught by ``normalise``, which returns the reject."""

    def __init__(self, reason: RejectReason, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}")
        self.reject = Reject(reason, field, repr(value)[:80], expected)


class Found(NamedTuple):
    """A value, where it was read, and what it is multiplied by."""

    key: str
    value: Value
    scale: float


class Reader:
    """Reads typed fields from one span's attributes, by a dialect's sources."""

    def __init__(
        self, attributes: Attributes, fields: Mapping[str, tuple[Source, ...]], absent: frozenset[str] = frozenset()
    ) -> None:
        self._attributes = attributes
        self._fields = fields
        self._absent = absent

    def _find(self, field: str) -> Found | None:
        for source in self._fields.get(field, ()):
            value = self._attributes.get(source.key)
            if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            if value is not None and value != "" and value not in self._absent:
                return Found(source.key, value, source.scale)
        return None

    def text(self, field: str) -> str | None:
        """A short text; a number is written out."""
        found = self._find(field)
        if found is None:
            return None
        return as_text(found.key, found.value, LONGEST_ID if field in _IDS else LONGEST_TEXT)

    def first(self, field: str) -> str | None:
        """The first of a list, which may be an array, JSON text, or a bare text."""
        found = self._find(field)
        if found is None:
            return None
        value = found.value
        if isinstance(value, str) and value.startswith("["):
            try:
                value = tuple(json.loads(value))
            except ValueError:
                return as_text(found.key, found.value)
        if isinstance(value, tuple):
            return as_text(found.key, value[0]) if value and isinstance(value[0], str) else None
        return as_text(found.key, value)

    def flag(self, field: str) -> bool | None:
        """A boolean, or one of the words that producers write for it."""
        found = self._find(field)
        if found is None:
            return None
        if isinstance(found.value, bool | int):
            return bool(found.value)
        word = str(found.value).lower()
        if word in ("true", "1", "yes"):
            return True
        if word in ("false", "0", "no"):
            return False
        raise Malformed(RejectReason.WRONG_TYPE, found.key, found.value, "a boolean")

    def tokens(self, field: str) -> int | None:
        """A count of tokens that somebody will be billed for: 0 … LARGEST_TOKENS, else malformed."""
        found = self._find(field)
        if found is None:
            return None
        number = as_number(found.key, found.value)
        if not math.isfinite(number) or number > LARGEST_TOKENS:
            raise Malformed(RejectReason.ABSURD_TOKENS, found.key, found.value, f"at most {LARGEST_TOKENS} tokens")
        if number < 0:
            raise Malformed(RejectReason.NEGATIVE_TOKENS, found.key, found.value, "tokens, 0 or more")
        if number != int(number):
            raise Malformed(RejectReason.WRONG_TYPE, found.key, found.value, "a whole number of tokens")
        return int(number)

    def parameter(self, field: str, largest: int = LARGEST_INT4) -> int | None:
        """A number that the caller chose: what makes no sense is unknown, since a silly parameter is no fault of the span."""
        number = self._number(field)
        return int(number) if number is not None and 0 <= number <= largest else None

    def amount(self, field: str) -> float | None:
        """A sum of money; one that makes no sense is unknown, since nobody is billed by it."""
        number = self._number(field)
        return number if number is not None and 0 <= number < math.inf else None

    def _number(self, field: str) -> float | None:
        """A number; ``None`` for what is none."""
        found = self._find(field)
        if found is None:
            return None
        try:
            return as_number(found.key, found.value)
        except Malformed:
            return None

    def seconds(self, field: str) -> float | None:
        """A duration in seconds, 0 … one day, else malformed."""
        found = self._find(field)
        if found is None:
            return None
        return as_seconds(found.key, as_number(found.key, found.value) * found.scale)


def as_text(key: str, value: Value, longest: int = LONGEST_TEXT) -> str:
    """A value as short text. A list has no text."""
    if isinstance(value, tuple):
        raise Malformed(RejectReason.WRONG_TYPE, key, value, "a text")
    if isinstance(value, Hashed):
        return value
    text = value if isinstance(value, str) else str(value)
    if len(text) > longest:
        raise Malformed(RejectReason.TOO_LARGE, key, f"{len(text)} characters", f"at most {longest} characters")
    # Postgres takes no NUL in text.
    return text.replace("\0", "")


def as_number(key: str, value: Value) -> float:
    """A value as a number; text that holds one is read."""
    if isinstance(value, (bool, tuple)):
        raise Malformed(RejectReason.WRONG_TYPE, key, value, "a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise Malformed(RejectReason.WRONG_TYPE, key, value, "a number") from None


def as_seconds(key: str, seconds: float) -> float:
    """A duration that can be believed."""
    if not 0 <= seconds <= LARGEST_SECONDS:  # also false for NaN
        raise Malformed(RejectReason.NOT_A_DURATION, key, seconds, f"0 to {LARGEST_SECONDS:.0f} seconds")
    return seconds + 0.0  # -0.0 is 0.0
