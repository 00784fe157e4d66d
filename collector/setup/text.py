"""The configuration that ``init`` writes: short, commented, and what was found filled in. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from collector.check import Checked
from collector.setup.probe import Surroundings


def config_text(found: Surroundings, *, environment: str = "production") -> str:
    """A configuration file for what was found."""
    return "\n".join(_lines(found, environment)) + "\n"


def _lines(found: Surroundings, environment: str) -> Iterator[str]:
    yield "# llm-slo. All keys: README.md. Check it with: llm-slo check --targets --config FILE"
    yield f"environment: {environment}"
    yield "# database_url: postgresql://llm_slo@db/llm_slo    # without it an embedded Postgres is started"
    yield "listen:"
    yield "  otlp_grpc: 127.0.0.1:4317    # gateways send their spans here;"
    yield "  otlp_http: 127.0.0.1:4318    # beyond loopback, senders need a token: llm-slo token create"
    if found.engines:
        yield "targets:"
        for engine in found.engines:
            yield from _target(engine)
    else:
        yield 'targets: []    # no engine was found; an entry is: {url: "http://HOST:8000", replica: vllm-0}'
    if found.kubernetes:
        yield "# discovery: {kubernetes: [{selector: app=vllm}]}    # pods as targets, beside or instead of the list"
    yield "sinks:"
    yield '  webhooks: []         # {name: chat, url: "http://…"}: Alertmanager\'s payload, version 4'
    yield '  alertmanagers: []    # {name: am-0, url: "http://…:9093"}: every member by itself'


def _target(engine: Checked) -> Iterator[str]:
    said = " ".join(part for part in (engine.engine, engine.version) if part)
    comment = f"{said}, serves {', '.join(engine.models) or 'no model yet'}"
    # A name of a model is somebody else's text, and must stay inside its comment.
    yield f"  - url: {engine.url}    # {''.join(one if one.isprintable() else '?' for one in comment)}"
