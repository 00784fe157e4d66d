"""What an OpenAI-compatible server answered: the parts that are no prompt and no completion text, read from its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Event(Enum):
    """What one server-sent event is."""

    CHUNK = "chunk"
    """Carries choices: a piece of the answer."""
    USAGE = "usage"
    """Carries the counts of tokens and no choice; only for callers who asked for it."""
    ERROR = "error"
    DONE = "done"
    OTHER = "other"


class Failure(NamedTuple):
    """An error that the server reported in a body or in a stream."""

    code: int | None
    message: str


@dataclass
class Answer:
    """Filled from one body or from the events of one stream."""

    response_id: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    """Part of ``input_tokens``."""
    finish_reasons: dict[int, str] = field(default_factory=dict)
    """By the index of the choice."""
    failure: Failure | None = None
    done: bool = False
    """Whether a stream said that it is complete."""

    def read_body(self, body: bytes) -> None:
        """A whole answer. What is no JSON object says nothing."""
        content = _parse(body)
        self._read(content)
        self.failure = _failure(content)

    def read_event(self, event: bytes) -> Event:
        """One server-sent event of a stream, without the empty line that ends it."""
        text = b"\n".join(_lines(event))
        if text == b"[DONE]":
            self.done = True
            return Event.DONE
        content = _parse(text)
        failure = _failure(content)
        if failure is not None:
            self.failure = failure
            return Event.ERROR
        self._read(content)
        if content.get("choices"):
            return Event.CHUNK
        return Event.USAGE if content.get("usage") else Event.OTHER

    def _read(self, content: Mapping[str, object]) -> None:
        self.response_id = _text(content.get("id")) or self.response_id
        self.model = _text(content.get("model")) or self.model
        usage = content.get("usage")
        if isinstance(usage, dict):
            self._read_usage(usage)
        choices = content.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(reason := choice.get("finish_reason"), str):
                self.finish_reasons[_count(choice.get("index")) or 0] = reason

    def _read_usage(self, usage: Mapping[str, object]) -> None:
        self.input_tokens = _count(usage.get("prompt_tokens"))
        self.output_tokens = _count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            self.cached_tokens = _count(details.get("cached_tokens"))


def split_events(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The whole events in ``buffer``, without the empty lines that end them, and the rest."""
    *events, rest = buffer.replace(b"\r\n", b"\n").split(b"\n\n")
    return events, rest


def _lines(event: bytes) -> Iterator[bytes]:
    for line in event.splitlines():
        if line.startswith(b"data:"):
            yield line.removeprefix(b"data:").strip()


def _parse(body: bytes) -> Mapping[str, object]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _failure(content: Mapping[str, object]) -> Failure | None:
    error = content.get("error") or (content if content.get("object") == "error" else None)
    if isinstance(error, str):
        return Failure(None, error)
    if not isinstance(error, dict):
        return None
    return Failure(_count(error.get("code")), str(error.get("message") or error.get("type") or ""))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
