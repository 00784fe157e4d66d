"""What the demo's tenants ask: an endless, seeded sequence of requests. Text comes from the help texts of Python itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pydoc_data.topics import topics
from typing import NamedTuple

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

_CHARACTERS_PER_TOKEN = 3.6
"""Of the demo's tokenizer on these texts, so that lengths can be given in tokens; it need not be exact."""
_TOO_LONG_TOKENS = 4200
"""More than the 2048 of the demo's model, even where the texts are dense: up to 5.2 characters per token were seen."""

Body = Mapping[str, object]


class Ask(NamedTuple):
    """One request to be sent."""

    tenant: str
    endpoint: str
    body: Body


class Mix(NamedTuple):
    """How one tenant uses the model. Shares are of the tenant's own requests, ranges in tokens."""

    tenant: str
    weight: float
    """Its share of all traffic, relative to the other tenants' weights."""
    endpoint: str
    streams: float
    system_tokens: int
    """Length of the system prompt that all its chats share, which the prefix cache hits; 0 for none."""
    prompt_tokens: tuple[int, int]
    answer_tokens: tuple[int, int]
    several: float = 0.0
    """Share of requests with n=2."""


MIXES = (
    Mix("acme", 5, CHAT, streams=0.9, system_tokens=420, prompt_tokens=(20, 120), answer_tokens=(16, 64)),
    Mix("acme", 1, CHAT, streams=0.0, system_tokens=420, prompt_tokens=(20, 80), answer_tokens=(4, 16)),
    Mix("globex", 2, CHAT, streams=0.3, system_tokens=260, prompt_tokens=(700, 1150), answer_tokens=(32, 96)),
    Mix("globex", 1, CHAT, streams=1.0, system_tokens=260, prompt_tokens=(40, 200), answer_tokens=(32, 128)),
    Mix("initech", 2, COMPLETIONS, streams=0.5, system_tokens=0, prompt_tokens=(10, 90), answer_tokens=(8, 48)),
    Mix("initech", 1, CHAT, streams=0.0, system_tokens=0, prompt_tokens=(30, 300), answer_tokens=(8, 32), several=0.5),
)
TENANTS = tuple(dict.fromkeys(mix.tenant for mix in MIXES))


def asks(seed: int, model: str, invalid_share: float) -> Iterator[Ask]:
    """Requests without an end, the same for the same arguments; ``invalid_share`` (0–1) of them will be refused."""
    chance = random.Random(seed)
    weights = [mix.weight for mix in MIXES]
    while True:
        mix = chance.choices(MIXES, weights)[0]
        ask = Ask(mix.tenant, mix.endpoint, _body(mix, model, chance))
        yield _spoilt(ask, chance) if chance.random() < invalid_share else ask


def invalid_asks(seed: int, model: str) -> Iterator[Ask]:
    """Only requests that will be refused."""
    return asks(seed, model, 1.0)


def _body(mix: Mix, model: str, chance: random.Random) -> Body:
    prompt = _text(chance.randint(*mix.prompt_tokens), chance)
    body: dict[str, object] = {"model": model, "max_tokens": chance.randint(*mix.answer_tokens)}
    if mix.endpoint == CHAT:
        user = {"role": "user", "content": prompt}
        body["messages"] = [{"role": "system", "content": _system(mix)}, user] if mix.system_tokens else [user]
    else:
        body["prompt"] = prompt
    if chance.random() < mix.streams:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if chance.random() < mix.several:
        body["n"] = 2
    return body


def _too_long(body: Body, endpoint: str, chance: random.Random) -> Body:
    prompt = _text(_TOO_LONG_TOKENS, chance)
    return {**body, "messages": [{"role": "user", "content": prompt}]} if endpoint == CHAT else {**body, "prompt": prompt}


def _bad_parameter(body: Body, endpoint: str, chance: random.Random) -> Body:
    return {**body, **chance.choice(({"temperature": -1.0}, {"max_tokens": -5}, {"top_p": "most"}))}


def _unknown_model(body: Body, endpoint: str, chance: random.Random) -> Body:
    return {**body, "model": "gpt-unknown"}


_SPOILERS: tuple[Callable[[Body, str, random.Random], Body], ...] = (_too_long, _bad_parameter, _unknown_model)


def _spoilt(ask: Ask, chance: random.Random) -> Ask:
    return ask._replace(body=chance.choice(_SPOILERS)(ask.body, ask.endpoint, chance))


def _system(mix: Mix) -> str:
    # By the tenant alone: two of its mixes share one system prompt.
    return f"You answer for {mix.tenant}. " + _text(mix.system_tokens, random.Random(mix.tenant))


def _text(tokens: int, chance: random.Random) -> str:
    corpus = _corpus()
    length = int(tokens * _CHARACTERS_PER_TOKEN)
    start = chance.randrange(len(corpus) - length)
    return corpus[start : start + length]


@cache
def _corpus() -> str:
    return "\n\n".join(topics[name] for name in sorted(topics))
