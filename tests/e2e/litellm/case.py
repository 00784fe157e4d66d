"""What callers ask LiteLLM for, one way to fail after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.e2e.litellm.fault import marker

PLANTED = "xylophonic-axolotl"
"""In every prompt: it must be nowhere on disk afterwards."""
LONGEST_ANSWER = 12
WHOLE_ANSWER_SECONDS = 60.0


class Case(NamedTuple):
    """One call. ``leaves_after_seconds`` counts from the first piece of the answer."""

    name: str
    body: Mapping[str, object]
    key: str = "sk-team-a"
    path: str = "/v1/chat/completions"
    leaves_after_seconds: float | None = None
    traced: bool = True
    """Whether the caller sends a traceparent."""
    sampled: bool = True
    """Whether that says that the caller's own trace is kept."""

    @property
    def model(self) -> str:
        """The model's name as the caller asks for it."""
        return str(self.body["model"])

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.body.get("stream") is True


def _ask(text: str = "", model: str = "tiny", **parameters: object) -> Mapping[str, object]:
    content = f"{PLANTED} {text}"
    return {
        "model": model,
        "max_tokens": LONGEST_ANSWER,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": content}],
        **parameters,
    }


def _stream(text: str = "", model: str = "tiny", **parameters: object) -> Mapping[str, object]:
    return _ask(text, model, stream=True, stream_options={"include_usage": True}, **parameters)


_COMPLETION = {"model": "tiny", "max_tokens": LONGEST_ANSWER, "ignore_eos": True, "prompt": PLANTED}

WARM_UP = (
    Case("warm-up", _ask()),
    Case("warm-up-stream", _stream()),
    Case("warm-up-completion", _COMPLETION, path="/v1/completions"),
    Case("warm-up-fallback", _ask(marker("busy"), model="spare")),
)
"""Made first: LiteLLM's first answers of a kind take long, while it imports what it needs."""

CASES = (
    Case("plain", _ask("one two three " * 60)),
    Case("plain-again", _ask("one two three " * 60), key="sk-team-b", traced=False),
    Case("unsampled", _ask("zero"), sampled=False),
    Case("stream", _stream("four five six")),
    Case("stream-untraced", _stream("four five six"), key="sk-team-b", traced=False),
    Case("stream-late", _stream(marker("late"))),
    Case("stream-usage-unasked", _ask("seven", stream=True)),
    Case("choices", _ask("eight", n=2)),
    Case("completion", _COMPLETION, path="/v1/completions"),
    Case("cache-fill", _ask("nine", cache={"use-cache": True})),
    Case("cache-hit", _ask("nine", cache={"use-cache": True})),
    Case("too-long", _ask("long " * 3000)),
    Case("too-long-stream", _stream("long " * 3000)),
    Case("no-such-key", _ask(), key="sk-nobody"),
    Case("rate-limit", _ask(marker("rate-limit"))),
    Case("busy", _ask(marker("busy")), traced=False),
    Case("oom", _ask(marker("oom"))),
    Case("oom-untraced", _ask(marker("oom")), traced=False),
    Case("oom-stream", _stream(marker("oom"))),
    Case("timeout", _ask(marker("hang"))),
    Case("timeout-stream", _stream(marker("hang"))),
    Case("oom-midway", _stream(marker("oom-midway"))),
    Case("reset-midway", _stream(marker("reset"))),
    Case("abort", _stream(marker("drip")), leaves_after_seconds=0.4),
    Case("fallback", _ask(marker("busy"), model="spare")),
    Case("fallback-stream", _stream(marker("oom"), model="spare"), traced=False),
    Case("fallback-late", _stream(marker("hang"), model="spare")),
    Case("retry", _ask(marker("once"), model="again")),
    Case("no-such-model", _ask(model="no-such-model")),
)
